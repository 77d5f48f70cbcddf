// Package announce answers for addresses on the links of a machine, so that whoever is on such a link sends what is for them to this machine: ARP for IPv4
// (RFC 826, 5227), neighbour discovery for IPv6 (RFC 4861). No interface has the addresses; what arrives is the service proxy's to deliver. It guarantees:
//
//   - It answers for exactly the addresses that it was told, on the links that have them in one of their prefixes; where none has, on that of the default
//     route of their family.
//   - An address that is new here is claimed at once and once a second for five seconds, so that neighbours and switches that knew another machine for it
//     learn of this one.
//   - Who else claims one of the addresses is contradicted, at most once in ten seconds, as long as the control plane is heard, for then the address is
//     rightly here. While it isn't, the other may have been put in this machine's place: the address is given up until the control plane names it again.
//   - When the process ends the addresses fall silent. Nothing of it stays in the kernel.
package announce
