// Package addresspool is the format in which a cluster's operator says which addresses load balancers may have: the ConfigMap
// kube-system/load-balancer-pools, with a pool under each key.
//
//	data:
//	  default: 192.0.2.100-192.0.2.120
//	  office: |
//	    addresses: [198.51.100.0/28, 2001:db8::100-2001:db8::1ff]
//	    autoAssign: false
//	    avoidBuggyIPs: true
//	    namespaces: [shop]
//	    nodeSelector: {rack: a}
//
// It guarantees:
//
//   - What Parse returns is in the order of the pools' names, and no address is in two of them.
//   - An error names the key, what is wrong, and what would be right; the API refuses a ConfigMap with one, so that pools in use stay as they are.
package addresspool
