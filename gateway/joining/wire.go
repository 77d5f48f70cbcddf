package joining

// Where the gateway serves joining.
const (
	JoinPath  = "/join"       // POST Request, without a certificate; answered by Answer
	RenewPath = "/join/renew" // POST Request without a token, with the node's certificate; answered by Answer
)

// MaxRequestBytes bounds a request.
const MaxRequestBytes = 16 << 10

// Request asks for a node's certificate.
type Request struct {
	Token   string `json:"token,omitempty"`
	Node    string `json:"node,omitempty"`
	Request string `json:"request"` // for the certificate, PEM
}

// Answer is all that a node needs to know of the cluster.
type Answer struct {
	Certificate string   `json:"certificate"`       // PEM
	Cluster     string   `json:"cluster"`           // its ID
	Broker      string   `json:"broker"`            // "host:port" for nodes; without a host: that of the gateway
	Brokers     []string `json:"brokers,omitempty"` // where there are several, all of them
	Servers     []string `json:"servers,omitempty"` // where there are several gateways, all of them: https://host:port
	ServiceCIDR string   `json:"serviceCIDR"`
	ClusterCIDR string   `json:"clusterCIDR,omitempty"`   // addresses of pods, all nodes' together
	Domain      string   `json:"clusterDomain,omitempty"` // empty: cluster.local
}
