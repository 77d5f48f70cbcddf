package events

// AgentLabel marks, with the value "true", the nodes that report through the node feed: their silence is the feed's to notice, and no
// Lease tells of them.
const AgentLabel = "wake.dev/agent"
