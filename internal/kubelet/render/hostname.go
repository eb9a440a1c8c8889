// SPDX-License-Identifier: Apache-2.0

package render

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// maxHostname is the kernel's __NEW_UTS_LEN, less the terminator that DNS labels never need.
const maxHostname = 63

// Hostname returns the pod's host name, the domain below which it is known (empty without subdomain), and the name to set in
// its UTS namespace, which is the whole FQDN for setHostnameAsFQDN.
func Hostname(pod *corev1.Pod, clusterDomain string) (host, domain, uts string, err error) {
	if o := pod.Spec.HostnameOverride; o != nil && *o != "" {
		return *o, "", *o, nil
	}
	host = pod.Spec.Hostname
	if host == "" {
		host = pod.Name
		if len(host) > maxHostname {
			host = strings.TrimRight(host[:maxHostname], "-.")
		}
	}
	uts = host
	if pod.Spec.Subdomain != "" {
		domain = fmt.Sprintf("%s.%s.svc.%s", pod.Spec.Subdomain, pod.Namespace, clusterDomain)
	}
	if truth(pod.Spec.SetHostnameAsFQDN) && domain != "" {
		uts = host + "." + domain
		if len(uts) > maxHostname+1 {
			return "", "", "", fmt.Errorf("the FQDN %q of pod %s/%s is longer than the kernel's limit of 64 characters: shorten hostname or subdomain, or unset setHostnameAsFQDN",
				uts, pod.Namespace, pod.Name)
		}
	}
	return host, domain, uts, nil
}

// Hosts returns the pod's /etc/hosts. A host-network pod gets the node's own text with the pod's aliases below.
func Hosts(pod *corev1.Pod, ips []string, clusterDomain, nodeHosts string) string {
	var b strings.Builder
	if pod.Spec.HostNetwork {
		b.WriteString("# Kubernetes-managed hosts file (host network).\n")
		b.WriteString(nodeHosts)
	} else {
		b.WriteString("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n" +
			"fe00::\tip6-localnet\nfe00::\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n")
		host, domain, _, err := Hostname(pod, clusterDomain)
		for _, ip := range ips {
			switch {
			case err != nil:
			case domain != "":
				fmt.Fprintf(&b, "%s\t%s.%s\t%s\n", ip, host, domain, host)
			default:
				fmt.Fprintf(&b, "%s\t%s\n", ip, host)
			}
		}
	}
	if len(pod.Spec.HostAliases) > 0 {
		b.WriteString("\n# Entries added by HostAliases.\n")
		for _, alias := range pod.Spec.HostAliases {
			fmt.Fprintf(&b, "%s\t%s\n", alias.IP, strings.Join(alias.Hostnames, "\t"))
		}
	}
	return b.String()
}
