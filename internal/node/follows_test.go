// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"eastwest/internal/client"
	"eastwest/internal/kernel/iptables"
	"eastwest/internal/kernel/netns/netnstest"
	"eastwest/internal/kubelet/apidouble"
)

func putNode(api *apidouble.Server, pods string, addresses ...corev1.NodeAddress) {
	api.Put("nodes", &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "worker"}, Spec: corev1.NodeSpec{PodCIDR: pods, PodCIDRs: []string{pods}},
		Status: corev1.NodeStatus{Addresses: addresses}})
}

// A proxy goes on with what the cluster says of its node and of virtual addresses when that changes: a Node that was made anew
// has other pods, and clients from outside would be taken for these.
func TestProxyFollowsTheCluster(t *testing.T) {
	netnstest.RequireProgram(t, "iptables-restore")
	internal, external := corev1.NodeInternalIP, corev1.NodeExternalIP
	for _, backend := range []string{"nftables", "iptables"} {
		t.Run(backend, func(t *testing.T) {
			ns, api := netnstest.New(t), newCluster(t)
			putNode(api, "10.244.0.0/24", corev1.NodeAddress{Type: external, Address: "192.0.2.7"}, corev1.NodeAddress{Type: external, Address: "192.0.2.8"})
			api.Put("servicecidrs", &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: "kubernetes"}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{"10.96.0.0/16"}}})
			config := ProxyConfig{Detect: DetectNodeCIDR, PrimaryNodePort: true, Localhost: true, NetworkConfig: NetworkConfig{
				Client: api.Client, NodeName: "worker", Netns: ns, Backend: backend, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
			}}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- RunProxy(ctx, config) }()
			has := func(what string, there ...string) {
				t.Helper()
				eventually(t, what, func() bool {
					text := kernelText(t, ns) + filterText(t, ns)
					for _, part := range there {
						if gone, not := strings.CutPrefix(part, "no "); strings.Contains(text, gone) == not {
							return false
						}
					}
					return true
				})
			}
			has("the first external address where there is no internal one, and loopback", "10.244.0.0/24", "192.0.2.7", "no 192.0.2.8", "127.0.0.0/8", "10.96.0.0/16")
			putNode(api, "10.244.7.0/24", corev1.NodeAddress{Type: external, Address: "192.0.2.7"}, corev1.NodeAddress{Type: internal, Address: "198.51.100.9"})
			has("what the new Node says", "10.244.7.0/24", "no 10.244.0.0/24", "198.51.100.9", "no 192.0.2.7", "127.0.0.0/8")
			api.Put("servicecidrs", &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: "more"}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{"10.200.0.0/16"}}})
			has("the new range", "10.96.0.0/16", "10.200.0.0/16")
			api.Drop("servicecidrs", "", "more")
			has("only the old range", "10.96.0.0/16", "no 10.200.0.0/16", "10.244.7.0/24")
			cancel()
			if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
				t.Errorf("the proxy ended with %v", err)
			}
		})
	}
}

// A proxy that starts while the API server is away waits for it and is alive; one whose cluster does not tell the ranges of
// services serves all the same.
func TestProxyWithoutRanges(t *testing.T) {
	netnstest.RequireProgram(t, "iptables-restore")
	ns, api := netnstest.New(t), newCluster(t)
	api.Put("servicecidrs", &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: "kubernetes"}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{"10.96.0.0/16"}}})
	target, err := url.Parse(api.Client.Config().Host)
	if err != nil {
		t.Fatal(err)
	}
	var answer atomic.Int64 // to whoever asks for ranges; 0 is the API server's own
	forward := httputil.NewSingleHostReverseProxy(target)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if code := int(answer.Load()); code != 0 && strings.HasSuffix(r.URL.Path, "/servicecidrs") {
			w.WriteHeader(code)
			return
		}
		forward.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		front.CloseClientConnections()
		front.Close()
	})
	run := func(health string) (stop func()) {
		through, err := client.New(&rest.Config{Host: front.URL, QPS: -1})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- RunProxy(ctx, ProxyConfig{Detect: DetectNodeCIDR, HealthzAddress: health, NetworkConfig: NetworkConfig{
				Client: through, NodeName: "worker", Netns: ns, Backend: "iptables", Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
			}})
		}()
		return func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("the proxy ended with %v", err)
			}
		}
	}
	serves := func() bool { return strings.Contains(kernelText(t, ns), "10.96.0.7") }
	refuses := func() bool { return strings.Contains(filterText(t, ns), "10.96.0.0/16") }

	answer.Store(http.StatusServiceUnavailable)
	health := freePort(t)
	stop := run(health)
	eventually(t, "alive", func() bool { code, _ := request("", health, "/livez"); return code == 200 })
	if code, _ := request("", health, "/healthz"); code != 503 || serves() {
		t.Errorf("without the API server /healthz is %d, want 503; serves: %t", code, serves())
	}
	answer.Store(0)
	eventually(t, "the API server is back", func() bool { return serves() && refuses() })
	stop()

	answer.Store(http.StatusNotFound)
	stop = run(health)
	eventually(t, "serves a cluster that does not tell its ranges", func() bool { return serves() && !refuses() })
	answer.Store(0)
	eventually(t, "the cluster tells its ranges after all", func() bool { return serves() && refuses() })
	stop()
}

// filterText has the chains that refuse.
func filterText(t *testing.T, ns string) string {
	t.Helper()
	text, err := iptables.New(ns).Save(t.Context(), iptables.IPv4, "filter")
	if err != nil {
		t.Fatal(err)
	}
	return text
}
