// SPDX-License-Identifier: Apache-2.0

package render

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Resolver is the content of a resolv.conf.
type Resolver struct {
	Servers, Searches, Options []string
}

// ParseResolver reads the text of a resolv.conf (resolv.conf(5)): the last search line wins, unknown lines are ignored.
func ParseResolver(text string) Resolver {
	var r Resolver
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 2 || strings.HasPrefix(fields[0], "#") || strings.HasPrefix(fields[0], ";") {
			continue
		}
		switch fields[0] {
		case "nameserver":
			r.Servers = append(r.Servers, fields[1])
		case "search", "domain":
			r.Searches = nil
			for _, domain := range fields[1:] {
				if domain != "." {
					domain = strings.TrimSuffix(domain, ".")
				}
				r.Searches = append(r.Searches, domain)
			}
		case "options":
			r.Options = fields[1:]
		}
	}
	return r
}

// DNS returns what a pod's resolv.conf says, by its dnsPolicy and dnsConfig.
func DNS(pod *corev1.Pod, node Node, host Resolver) *runtimeapi.DNSConfig {
	r := host
	switch policy(pod, node) {
	case corev1.DNSNone:
		r = Resolver{}
	case corev1.DNSClusterFirst:
		r = Resolver{Options: []string{"ndots:5"}}
		for _, ip := range node.ClusterDNS {
			r.Servers = append(r.Servers, ip.String())
		}
		if d := node.ClusterDomain; d != "" {
			r.Searches = []string{pod.Namespace + ".svc." + d, "svc." + d, d}
		}
		r.Searches = unique(r.Searches, host.Searches)
	}
	if c := pod.Spec.DNSConfig; c != nil {
		r.Servers = unique(r.Servers, c.Nameservers)
		r.Searches = unique(r.Searches, c.Searches)
		r.Options = mergeOptions(r.Options, c.Options)
	}
	return &runtimeapi.DNSConfig{Servers: r.Servers, Searches: r.Searches, Options: r.Options}
}

// policy resolves what a pod's dnsPolicy means here: ClusterFirst needs a cluster DNS, and the pod's own network.
func policy(pod *corev1.Pod, node Node) corev1.DNSPolicy {
	switch pod.Spec.DNSPolicy {
	case corev1.DNSNone:
		return corev1.DNSNone
	case corev1.DNSDefault:
		return corev1.DNSDefault
	case corev1.DNSClusterFirstWithHostNet:
	default:
		if pod.Spec.HostNetwork {
			return corev1.DNSDefault
		}
	}
	if len(node.ClusterDNS) == 0 {
		return corev1.DNSDefault
	}
	return corev1.DNSClusterFirst
}

func unique(lists ...[]string) []string {
	seen, out := map[string]bool{}, []string(nil)
	for _, list := range lists {
		for _, s := range list {
			if !seen[s] {
				seen[s] = true
				out = append(out, s)
			}
		}
	}
	return out
}

// mergeOptions lets a pod's options replace those of the same name, and adds the others.
func mergeOptions(base []string, own []corev1.PodDNSConfigOption) []string {
	texts := map[string]string{}
	var added []string
	for _, o := range own {
		text := o.Name
		if o.Value != nil && *o.Value != "" {
			text += ":" + *o.Value
		}
		if _, again := texts[o.Name]; !again {
			added = append(added, o.Name)
		}
		texts[o.Name] = text
	}
	var out []string
	for _, option := range base {
		name, _, _ := strings.Cut(option, ":")
		if text, replaced := texts[name]; replaced {
			option = text
			delete(texts, name)
		}
		out = append(out, option)
	}
	for _, name := range added {
		if text, left := texts[name]; left {
			out = append(out, text)
		}
	}
	return out
}
