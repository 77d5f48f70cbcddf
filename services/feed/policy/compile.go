package policy

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/wakehq/wake/events/nodewire"
)

// selection chooses pods: of one namespace, or of those that a selector chooses; with a port of a name, if that is given.
type selection struct {
	namespace  string
	namespaces labels.Selector // nil: namespace alone
	pods       labels.Selector
	port       namedPort
}

type namedPort struct {
	protocol corev1.Protocol
	name     string
}

// id is the same for selections that choose alike. It has 80 bits.
func (s selection) id() string {
	text := "in\x00" + s.namespace
	if s.namespaces != nil {
		text = "of\x00" + words(s.namespaces)
	}
	text += "\x00" + words(s.pods) + "\x00" + string(s.port.protocol) + "\x00" + s.port.name
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:10])
}

// words tells selectors apart: the one that chooses nothing is worded like the one that chooses everything.
func words(s labels.Selector) string {
	if _, selectable := s.Requirements(); !selectable {
		return "-"
	}
	return s.String()
}

// compiled is a policy with the selections that its rules name.
type compiled struct {
	selector        labels.Selector
	ingress, egress bool // whether it isolates
	wire            nodewire.Policy
	selections      map[string]selection // by their IDs
}

// compile words a policy for nodes.
func compile(p *networkingv1.NetworkPolicy) compiled {
	c := compiled{selector: selectorOf(&p.Spec.PodSelector), selections: map[string]selection{}}
	c.ingress, c.egress = directions(p)
	if c.ingress {
		for _, rule := range p.Spec.Ingress {
			c.wire.Ingress = append(c.wire.Ingress, c.ingressRule(p.Namespace, rule))
		}
	}
	if c.egress {
		for _, rule := range p.Spec.Egress {
			c.wire.Egress = append(c.wire.Egress, c.egressRules(p.Namespace, rule)...)
		}
	}
	return c
}

// directions says in which directions a policy isolates: as its types say, or ingress, and egress if it has rules for that.
func directions(p *networkingv1.NetworkPolicy) (ingress, egress bool) {
	if len(p.Spec.PolicyTypes) == 0 {
		return true, len(p.Spec.Egress) > 0
	}
	return slices.Contains(p.Spec.PolicyTypes, networkingv1.PolicyTypeIngress), slices.Contains(p.Spec.PolicyTypes, networkingv1.PolicyTypeEgress)
}

// ingressRule leaves ports that have a name to the node, which knows its pods' before anybody else does.
func (c *compiled) ingressRule(namespace string, rule networkingv1.NetworkPolicyIngressRule) nodewire.PolicyRule {
	ports, names := portsOf(rule.Ports)
	for _, n := range names {
		ports = append(ports, nodewire.PolicyPort{Protocol: n.protocol, Name: n.name})
	}
	r := c.peers(namespace, rule.From)
	r.Ports = ports
	return r
}

// egressRules makes a rule of the ports with numbers and one of those with names: which number that is, is each peer's own matter.
func (c *compiled) egressRules(namespace string, rule networkingv1.NetworkPolicyEgressRule) (rules []nodewire.PolicyRule) {
	ports, names := portsOf(rule.Ports)
	if len(ports) > 0 || len(names) == 0 {
		r := c.peers(namespace, rule.To)
		r.Ports = ports
		rules = append(rules, r)
	}
	var targets nodewire.PolicyRule
	for _, n := range names {
		for _, s := range targetsOf(namespace, rule.To) {
			s.port = n
			targets.Targets = append(targets.Targets, c.name(s))
		}
	}
	if len(targets.Targets) > 0 {
		rules = append(rules, targets)
	}
	return rules
}

// targetsOf are the pods among the peers; all if there are no peers. Addresses of a block have no names for their ports.
func targetsOf(namespace string, peers []networkingv1.NetworkPolicyPeer) (all []selection) {
	if len(peers) == 0 {
		return []selection{{namespaces: labels.Everything(), pods: labels.Everything()}}
	}
	for _, peer := range peers {
		if peer.IPBlock == nil {
			all = append(all, selectionOf(namespace, peer))
		}
	}
	return all
}

func (c *compiled) peers(namespace string, peers []networkingv1.NetworkPolicyPeer) nodewire.PolicyRule {
	r := nodewire.PolicyRule{Everybody: len(peers) == 0}
	for _, peer := range peers {
		if peer.IPBlock == nil {
			r.Groups = append(r.Groups, c.name(selectionOf(namespace, peer)))
		} else if block, ok := blockOf(peer.IPBlock); ok {
			r.Blocks = append(r.Blocks, block)
		}
	}
	return r
}

func (c *compiled) name(s selection) string {
	id := s.id()
	c.selections[id] = s
	return id
}

func selectionOf(namespace string, peer networkingv1.NetworkPolicyPeer) selection {
	s := selection{namespace: namespace, pods: labels.Everything()}
	if peer.NamespaceSelector != nil {
		s.namespace, s.namespaces = "", selectorOf(peer.NamespaceSelector)
	}
	if peer.PodSelector != nil {
		s.pods = selectorOf(peer.PodSelector)
	}
	return s
}

func selectorOf(s *metav1.LabelSelector) labels.Selector {
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return labels.Nothing()
	}
	return selector
}

// blockOf reads a block. One that can't be read allows nothing.
func blockOf(b *networkingv1.IPBlock) (block nodewire.PolicyBlock, ok bool) {
	cidr, err := netip.ParsePrefix(b.CIDR)
	if err != nil {
		return block, false
	}
	block.CIDR = cidr.Masked()
	for _, text := range b.Except {
		except, err := netip.ParsePrefix(text)
		if err != nil {
			return block, false
		}
		block.Except = append(block.Except, except.Masked())
	}
	return block, true
}

// portsOf reads the ports of a rule: those with a number or none at all, and those with a name.
func portsOf(ports []networkingv1.NetworkPolicyPort) (numbers []nodewire.PolicyPort, names []namedPort) {
	for _, p := range ports {
		protocol := corev1.ProtocolTCP
		if p.Protocol != nil {
			protocol = *p.Protocol
		}
		port := nodewire.PolicyPort{Protocol: protocol}
		switch {
		case p.Port == nil:
		case p.Port.Type == intstr.String:
			names = append(names, namedPort{protocol, p.Port.StrVal})
			continue
		default:
			port.Port = uint16(p.Port.IntVal) //nolint:gosec // validated: 1 to 65535
			if p.EndPort != nil {
				port.End = uint16(*p.EndPort) //nolint:gosec // likewise
			}
		}
		numbers = append(numbers, port)
	}
	return numbers, names
}

// namedPorts are the ports of a pod's containers that have a name, as policies can name them.
func namedPorts(pod *corev1.Pod) (ports []nodewire.PolicyPort) {
	add := func(c *corev1.Container) {
		for _, p := range c.Ports {
			port := nodewire.PolicyPort{Protocol: cmp.Or(p.Protocol, corev1.ProtocolTCP), Port: uint16(p.ContainerPort), Name: p.Name} //nolint:gosec // validated
			if p.Name != "" && portNamed(ports, namedPort{port.Protocol, port.Name}) == nil {
				ports = append(ports, port)
			}
		}
	}
	for i := range pod.Spec.InitContainers {
		if policy := pod.Spec.InitContainers[i].RestartPolicy; policy != nil && *policy == corev1.ContainerRestartPolicyAlways {
			add(&pod.Spec.InitContainers[i])
		}
	}
	for i := range pod.Spec.Containers {
		add(&pod.Spec.Containers[i])
	}
	return ports
}

func portNamed(ports []nodewire.PolicyPort, name namedPort) *nodewire.PolicyPort {
	for i := range ports {
		if ports[i].Protocol == name.protocol && ports[i].Name == name.name {
			return &nodewire.PolicyPort{Protocol: ports[i].Protocol, Port: ports[i].Port}
		}
	}
	return nil
}
