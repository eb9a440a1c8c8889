// SPDX-License-Identifier: Apache-2.0

package nodecmd

import (
	"io"
	"strings"
	"testing"
)

// A command line that makes no sense is refused before anything is done, with what to write instead; one that was written for
// kube-proxy is understood.
func TestProxyFlags(t *testing.T) {
	for line, want := range map[string]string{
		"": "--kubeconfig is required",
		"--kubeconfig x --detect-local-mode Pods":                      "use ClusterCIDR, NodeCIDR, BridgeInterface or InterfaceNamePrefix",
		"--kubeconfig x --conntrack-tcp-timeout-established -5s":       "--conntrack-tcp-timeout-established -5s: use 0s",
		"--kubeconfig x --ipvs-udp-timeout -1s":                        "--ipvs-udp-timeout -1s: use 0s",
		"--kubeconfig x --pod-bridge-interface averyverylonginterface": "interface name is too long",
		"--kubeconfig x --pod-interface-name-prefix ve\"th":            "rules cannot name an interface",
		"--kubeconfig x --detect-local-mode BridgeInterface":           "needs --pod-bridge-interface",
		"--kubeconfig x --detect-local-mode InterfaceNamePrefix":       "needs --pod-interface-name-prefix",
		"--kubeconfig x --backend ebpf":                                "use one of nftables, iptables, ipvs",
		"--kubeconfig x --nodeport-addresses primary,192.0.2.0/24":     "--nodeport-addresses",
		"--kubeconfig x --healthz-bind-address 192.0.2.7":              "missing port",
		"--kubeconfig x --conntrack-min -1":                            "must not be negative",
		"--kubeconfig x --v=much":                                      `"much" is no number`,
		"--kubeconfig x more":                                          "more",
		"--kubeconfig /nowhere/kubeconfig --v=2":                       "no such file",
		"--kubeconfig /nowhere/kubeconfig -v=4 --proxy-mode iptables --hostname-override worker --cluster-cidr 10.244.0.0/16,fd00:10::/56": "no such file",
		"--kubeconfig /nowhere/kubeconfig -v --nodeport-addresses primary --iptables-localhost-nodeports":                                  "no such file",
		"--kubeconfig /nowhere/kubeconfig --verbose": "no such file",
	} {
		cmd := newProxy(Streams{In: strings.NewReader(""), Out: io.Discard, Err: io.Discard})
		cmd.SetArgs(strings.Fields(line))
		cmd.SetOut(io.Discard)
		cmd.SetErr(io.Discard)
		if err := cmd.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("proxy %s: %v, want %q", line, err, want)
		}
	}
}
