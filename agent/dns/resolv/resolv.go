// Package resolv makes the resolv.conf of a pod as the kubelet does.
//
//   - It is pure: the same pod, node file and cluster give the same lines.
//   - Nothing occurs twice in a list, and the lists keep the kubelet's limits: 3 name servers, 32 search domains, 2048 characters of those.
//   - A pod that asks for the cluster's DNS in a cluster without one gets the node's.
package resolv

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Limits of what a pod is given, the kubelet's.
const (
	MaxNameservers = 3
	MaxSearches    = 32
	MaxSearchChars = 2048 // of all search domains with the spaces between them
	maxSearchName  = 253
)

// Conf is the content of a resolv.conf.
type Conf struct {
	Nameservers []string
	Searches    []string
	Options     []string // "ndots:5", "edns0"
}

// Cluster is the DNS of a cluster.
type Cluster struct {
	Servers []string // addresses; none: the cluster has no DNS
	Domain  string   // "cluster.local"
}

// Parse reads a resolv.conf. As with the C library the last search (or domain) line counts; lines that aren't understood are skipped.
func Parse(text string) Conf {
	var c Conf
	for line := range strings.Lines(text) {
		if i := strings.IndexAny(line, "#;"); i >= 0 {
			line = line[:i]
		}
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		switch fields[0] {
		case "nameserver":
			c.Nameservers = append(c.Nameservers, fields[1])
		case "search", "domain":
			c.Searches = nil
			for _, domain := range fields[1:] {
				if domain != "." {
					domain = strings.TrimSuffix(domain, ".")
				}
				c.Searches = append(c.Searches, domain)
			}
		case "options":
			c.Options = append(c.Options, fields[1:]...)
		}
	}
	return c
}

// String writes the file.
func (c Conf) String() string {
	var b strings.Builder
	if len(c.Searches) > 0 {
		b.WriteString("search " + strings.Join(c.Searches, " ") + "\n")
	}
	for _, server := range c.Nameservers {
		b.WriteString("nameserver " + server + "\n")
	}
	if len(c.Options) > 0 {
		b.WriteString("options " + strings.Join(c.Options, " ") + "\n")
	}
	return b.String()
}

// ForPod follows the pod's dnsPolicy and dnsConfig; node is what the node's own file says.
func ForPod(pod *corev1.Pod, node Conf, cluster Cluster) Conf {
	var c Conf
	switch policy(pod, cluster) {
	case corev1.DNSNone:
	case corev1.DNSClusterFirst:
		svc := "svc." + cluster.Domain
		c.Nameservers = slices.Clone(cluster.Servers)
		c.Searches = slices.Concat([]string{pod.Namespace + "." + svc, svc, cluster.Domain}, node.Searches)
		c.Options = []string{"ndots:5"}
	default:
		c.Nameservers = slices.Clone(node.Nameservers)
		c.Searches = slices.Clone(node.Searches)
		c.Options = slices.Clone(node.Options)
	}
	if own := pod.Spec.DNSConfig; own != nil {
		c.Nameservers = append(c.Nameservers, own.Nameservers...)
		c.Searches = append(c.Searches, own.Searches...)
		c.Options = mergeOptions(c.Options, own.Options)
	}
	c.Nameservers = unique(c.Nameservers)
	c.Nameservers = c.Nameservers[:min(len(c.Nameservers), MaxNameservers)]
	c.Searches = limitSearches(unique(c.Searches))
	return c
}

// policy is whose DNS the pod starts from: DNSClusterFirst, DNSDefault (the node's) or DNSNone.
func policy(pod *corev1.Pod, cluster Cluster) corev1.DNSPolicy {
	switch p := pod.Spec.DNSPolicy; {
	case p == corev1.DNSNone || p == corev1.DNSDefault:
		return p
	case len(cluster.Servers) == 0, p == corev1.DNSClusterFirst && pod.Spec.HostNetwork:
		return corev1.DNSDefault
	}
	return corev1.DNSClusterFirst
}

// mergeOptions lets the pod's options replace those of the same name.
func mergeOptions(options []string, own []corev1.PodDNSConfigOption) []string {
	var out []string
	at := map[string]int{}
	put := func(name, option string) {
		if i, known := at[name]; known {
			out[i] = option
			return
		}
		at[name] = len(out)
		out = append(out, option)
	}
	for _, option := range options {
		name, _, _ := strings.Cut(option, ":")
		put(name, option)
	}
	for _, o := range own {
		option := o.Name
		if o.Value != nil && *o.Value != "" {
			option += ":" + *o.Value
		}
		put(o.Name, option)
	}
	return out
}

func unique(list []string) []string {
	var out []string
	known := map[string]bool{}
	for _, s := range list {
		if !known[s] {
			known[s] = true
			out = append(out, s)
		}
	}
	return out
}

// limitSearches cuts the list where the kubelet does, and leaves out names that no server could answer.
func limitSearches(searches []string) []string {
	searches = slices.DeleteFunc(searches, func(s string) bool { return len(strings.TrimSuffix(s, ".")) > maxSearchName })
	searches = searches[:min(len(searches), MaxSearches)]
	chars := -1
	for i, s := range searches {
		if chars += 1 + len(s); chars > MaxSearchChars {
			return searches[:i]
		}
	}
	return searches
}
