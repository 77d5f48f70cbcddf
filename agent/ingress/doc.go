// Package ingress serves Ingresses on a node: HTTP and HTTPS from outside to the pods behind Services. The Server does it in a process of its own, which the
// agent's Keeper starts and tells of the cluster over a socket; it goes on with what it knows while the agent is dead. It guarantees:
//
//   - Each request is routed by one immutable table, which each change replaces at once. Endpoints are replaced apart from it, so that a rollout costs what it
//     changes. Neither cuts a connection or fails a request.
//   - Of hosts the exact one comes first, then the wildcard (one label), then rules without a host; of paths an exact one, then the longest prefix (by elements;
//     ImplementationSpecific means Prefix). Of two Ingresses that say the same the older one has it. What no rule matches goes to the default backend, or is 404.
//   - Endpoints are those that are ready; if none is, those that end and still serve. Without any the answer is 503.
//   - An endpoint that refuses the connection has heard nothing, so another is asked, whatever the request. One that fails after that is replaced only for
//     requests that may be repeated (idempotent, without a body).
//   - HTTP/1.1 and HTTP/2 (over TLS) from clients, upgrades (WebSocket) passed on. Backends are spoken to in HTTP/1.1, or as appProtocol or an annotation says.
//   - Certificates are chosen by SNI; where none fits, one that nobody trusts is shown. An Ingress with a certificate for a host redirects its plain HTTP, unless
//     an annotation says otherwise.
//   - Forwarded and X-Forwarded-* of the client are replaced: the server is the first that can be believed.
//   - Nothing is listened on before the node's Ingresses are known, and an agent that begins anew takes nothing away before it knows them.
package ingress
