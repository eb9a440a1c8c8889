// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"eastwest/internal/kernel/iptables"
	"eastwest/internal/kernel/netns/netnstest"
	"eastwest/internal/kernel/nft"
)

// A proxy that ends is followed by one that goes on from what it left; not where its settings are others, and not where another program
// was there meanwhile, in which case what that took away comes back.
func TestProxyGoesOn(t *testing.T) {
	netnstest.RequireProgram(t, "iptables-restore")
	const goesOn, reads = "go on from what the kernel has", "read what the kernel has"
	for _, backend := range []string{"nftables", "iptables"} {
		t.Run(backend, func(t *testing.T) {
			ns, api := netnstest.New(t), newCluster(t)
			if version, err := iptables.New(ns).Version(t.Context()); err != nil || backend == "iptables" && !version.InNftables() {
				t.Skip("the programs keep rules where the kernel numbers nothing", err)
			}
			config := ProxyConfig{Detect: DetectNodeCIDR, NetworkConfig: NetworkConfig{
				Client: api.Client, NodeName: "worker", Netns: ns, Backend: backend, RunDir: t.TempDir(),
				ServiceCIDRs: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/12")},
			}}
			play := func(says string) {
				t.Helper()
				said, config := &output{}, config
				config.HealthzAddress = freePort(t)
				config.Log = slog.New(slog.NewTextHandler(io.MultiWriter(said, t.Output()), nil))
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error, 1)
				go func() { done <- RunProxy(ctx, config) }()
				eventually(t, "applied", func() bool {
					if len(done) > 0 {
						t.Fatalf("the proxy ended with %v", <-done)
					}
					_, body := request("", config.HealthzAddress, "/healthz")
					return strings.Contains(body, `"status":{`)
				})
				if !said.has(says) {
					t.Errorf("it did not say %q", says)
				}
				cancel()
				if err := <-done; err != nil {
					t.Errorf("the proxy ended with %v", err)
				}
			}
			play(reads)
			play(goesOn)
			config.ServiceCIDRs = []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16")}
			play(reads)
			play(goesOn)
			config.ServiceCIDRs = nil // the cluster's are followed
			for _, name := range []string{"10.200.0.0", "10.201.0.0"} {
				api.Put("servicecidrs", &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{name + "/16"}}})
				play(reads)
				play(goesOn)
			}
			before := kernelText(t, ns)
			if err := nft.New(ns).Run(t.Context(), "flush ruleset\n"); err != nil {
				t.Fatal(err)
			}
			play(reads)
			if after := kernelText(t, ns); strings.Count(after, "10.96.0.7") != strings.Count(before, "10.96.0.7") {
				t.Errorf("after a flush:\n%s\nbefore:\n%s", after, before)
			}
			config.Log = slog.New(slog.DiscardHandler)
			err := RemoveProxy(t.Context(), config.NetworkConfig)
			if left, unread := os.ReadDir(config.RunDir); err != nil || unread != nil || len(left) > 0 {
				t.Errorf("the clean-up ended with %v and left %v (%v)", err, left, unread)
			}
		})
	}
}
