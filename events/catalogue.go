package events

// TypeDoc describes a type of event for the catalogue that is generated from these: what it is called, who writes it ("service:job",
// "node", "user") and what it says has happened.
type TypeDoc struct{ Type, By, Meaning string }
