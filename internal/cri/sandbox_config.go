// SPDX-License-Identifier: Apache-2.0

package cri

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"eastwest/internal/cri/network"
)

func namespaceOptions(cfg *runtimeapi.PodSandboxConfig) *runtimeapi.NamespaceOption {
	return cfg.GetLinux().GetSecurityContext().GetNamespaceOptions()
}

func hostNetwork(cfg *runtimeapi.PodSandboxConfig) bool {
	return namespaceOptions(cfg).GetNetwork() == runtimeapi.NamespaceMode_NODE
}

// pidMode is how the pod's containers see processes. CRI's zero value is POD, which a request without any options does
// not mean.
func pidMode(cfg *runtimeapi.PodSandboxConfig) runtimeapi.NamespaceMode {
	if o := namespaceOptions(cfg); o != nil {
		return o.GetPid()
	}
	return runtimeapi.NamespaceMode_CONTAINER
}

func podName(cfg *runtimeapi.PodSandboxConfig) string {
	return cfg.GetMetadata().GetNamespace() + "/" + cfg.GetMetadata().GetName()
}

// podOf is what network plugins are told of a sandbox.
func podOf(rec sandboxRecord) network.Pod {
	meta, dns := rec.Config.GetMetadata(), rec.Config.GetDnsConfig()
	pod := network.Pod{
		ID: rec.ID, NetNS: rec.NetNS, Name: meta.GetName(), Namespace: meta.GetNamespace(), UID: meta.GetUid(),
		DNS:         network.DNS{Servers: dns.GetServers(), Searches: dns.GetSearches(), Options: dns.GetOptions()},
		Annotations: rec.Config.GetAnnotations(), CgroupParent: rec.Config.GetLinux().GetCgroupParent(),
		IngressRate: rate(rec.Config.GetAnnotations()["kubernetes.io/ingress-bandwidth"]),
		EgressRate:  rate(rec.Config.GetAnnotations()["kubernetes.io/egress-bandwidth"]),
	}
	for _, p := range rec.Config.GetPortMappings() {
		if p.GetHostPort() <= 0 {
			continue
		}
		pod.Ports = append(pod.Ports, network.Port{
			HostPort: p.GetHostPort(), ContainerPort: p.GetContainerPort(), HostIP: p.GetHostIp(),
			Protocol: strings.ToLower(p.GetProtocol().String()),
		})
	}
	return pod
}

// rate reads a bandwidth annotation, a quantity of bits per second ("10M", "1Gi"); what is none limits nothing.
func rate(text string) uint64 {
	units := []struct {
		suffix string
		factor float64
	}{
		{"Ki", 1 << 10}, {"Mi", 1 << 20}, {"Gi", 1 << 30}, {"Ti", 1 << 40}, {"k", 1e3}, {"M", 1e6}, {"G", 1e9}, {"T", 1e12},
	}
	factor := 1.0
	for _, u := range units {
		if rest, ok := strings.CutSuffix(text, u.suffix); ok {
			text, factor = rest, u.factor
			break
		}
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || n < 0 || n*factor > 1e15 {
		return 0
	}
	return uint64(n * factor)
}

// writeSandboxFiles writes hostname, hosts and resolv.conf for containers that do not bring their own.
func writeSandboxFiles(dir string, cfg *runtimeapi.PodSandboxConfig) error {
	hostname := cfg.GetHostname()
	if hostname == "" {
		hostname, _ = os.Hostname()
	}
	resolv, err := resolvConf(cfg.GetDnsConfig())
	if err != nil {
		return err
	}
	hosts, err := os.ReadFile("/etc/hosts")
	if err != nil {
		hosts = []byte("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")
	}
	for name, content := range map[string]string{"hostname": hostname + "\n", "resolv.conf": resolv, "hosts": string(hosts)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			return fmt.Errorf("write %s of sandbox: %w", name, err)
		}
	}
	return nil
}

// resolvConf is the pod's resolver configuration (man 5 resolv.conf); without any it is the node's.
func resolvConf(dns *runtimeapi.DNSConfig) (string, error) {
	if len(dns.GetServers())+len(dns.GetSearches())+len(dns.GetOptions()) == 0 {
		raw, err := os.ReadFile("/etc/resolv.conf")
		if err != nil && !os.IsNotExist(err) {
			return "", fmt.Errorf("read the node's resolv.conf: %w", err)
		}
		return string(raw), nil
	}
	var b strings.Builder
	if len(dns.GetSearches()) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(dns.GetSearches(), " "))
	}
	for _, server := range dns.GetServers() {
		fmt.Fprintf(&b, "nameserver %s\n", server)
	}
	if len(dns.GetOptions()) > 0 {
		fmt.Fprintf(&b, "options %s\n", strings.Join(dns.GetOptions(), " "))
	}
	return b.String(), nil
}
