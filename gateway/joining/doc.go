// Package joining is what a machine and the gateway say to each other when the machine becomes a node, and the tokens that let it. It guarantees:
//
//   - A token lets machines in until it expires, as many as it says, under the name that it says if it says one. Only its hash is kept, in a Secret
//     of the Kubernetes type for it: making, using and revoking a token are events.
//   - A name that is taken is not given away, except by a token that was made for it.
//   - A machine that did not hear the answer may ask again with the same key, and uses the token no further.
//   - Another Node object is another node: deleting one ends all certificates that were issued for it, renewed ones too.
package joining
