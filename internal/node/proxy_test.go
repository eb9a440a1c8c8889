// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"eastwest/internal/dataplane"
	"eastwest/internal/dataplane/services/ipvs"
	"eastwest/internal/kernel/iptables"
	ipvskernel "eastwest/internal/kernel/ipvs"
	"eastwest/internal/kernel/netns/netnstest"
	"eastwest/internal/kernel/nft"
	"eastwest/internal/kernel/sysctl"
	"eastwest/internal/kubelet/apidouble"
)

const patience = 60 * time.Second // an emulated machine on a busy one takes half of it

// eventually tries until it is so, for nothing says when the kernel has it.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if is() {
			return
		}
	}
	t.Fatalf("not in %s: %s", patience, what)
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func put(api *apidouble.Server, ready bool) {
	port, protocol := int32(8080), corev1.ProtocolTCP
	name := "worker"
	api.Put("endpointslices", &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: "nginx-1", Labels: map[string]string{discoveryv1.LabelServiceName: "nginx"},
			Annotations: map[string]string{corev1.EndpointsLastChangeTriggerTime: time.Now().Format(time.RFC3339Nano)},
		},
		AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Port: &port, Protocol: &protocol}},
		Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.244.0.2"}, NodeName: &name, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}},
	})
}

// newCluster has a node and a load-balanced service with one endpoint on it.
func newCluster(t *testing.T) *apidouble.Server {
	t.Helper()
	api, err := apidouble.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(api.Close)
	api.Put("nodes", &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "worker"}, Spec: corev1.NodeSpec{PodCIDR: "10.244.0.0/24"}})
	api.Put("services", &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "nginx"}, Spec: corev1.ServiceSpec{
		Type: corev1.ServiceTypeLoadBalancer, ClusterIP: "10.96.0.7", ClusterIPs: []string{"10.96.0.7"}, IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol},
		ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyLocal, HealthCheckNodePort: 30999,
		Ports: []corev1.ServicePort{{Port: 80, NodePort: 31000, Protocol: corev1.ProtocolTCP}},
	}})
	put(api, true)
	return api
}

// A proxy alone carries the services of a cluster, tells load balancers and probes, counts, mends, changes backends and
// leaves nothing after a clean-up.
func TestProxyAlone(t *testing.T) {
	netnstest.RequireProgram(t, "iptables-restore")
	ns, api := netnstest.New(t), newCluster(t)
	netnstest.In(t, ns, func() error {
		lo, err := netlink.LinkByName("lo")
		return errors.Join(err, netlink.LinkSetUp(lo))
	})
	for _, backend := range Backends() {
		t.Run(backend, func(t *testing.T) {
			if backend == backendIPVS && ipvskernel.Check() != nil {
				refusesIPVS(t, ns, api)
				return
			}
			playProxy(t, ns, api, backend)
		})
	}
	if err := RemoveProxy(t.Context(), NetworkConfig{Netns: ns, Log: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatal(err)
	}
	if left := kernelText(t, ns); strings.Contains(left, "eastwest") || strings.Contains(left, "KUBE-") {
		t.Errorf("after the clean-up:\n%s", left)
	}
	if have := parameter(ns, routeLocalnet); have != "0" {
		t.Errorf("route_localnet is %s after the clean-up, want it as it was", have)
	}
}

// refusesIPVS wants to be told at once that this kernel has none, and what to do.
func refusesIPVS(t *testing.T, ns string, api *apidouble.Server) {
	err := RunProxy(t.Context(), ProxyConfig{Detect: DetectNodeCIDR, NetworkConfig: NetworkConfig{
		Client: api.Client, NodeName: "worker", Netns: ns, Backend: backendIPVS, Log: slog.New(slog.DiscardHandler),
		ServiceCIDRs: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/12")},
	}})
	if !errors.Is(err, ipvskernel.ErrMissing) || !strings.Contains(err.Error(), "--backend ipvs") || !strings.Contains(err.Error(), "--backend nftables") {
		t.Errorf("the proxy ended with %v", err)
	}
}

func playProxy(t *testing.T, ns string, api *apidouble.Server, backend string) {
	put(api, true)
	health, scrape := freePort(t), freePort(t)
	config := ProxyConfig{Detect: DetectNodeCIDR, HealthzAddress: health, MetricsAddress: scrape, NetworkConfig: NetworkConfig{
		Client: api.Client, NodeName: "worker", Netns: ns, Backend: backend, ServiceCIDRs: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/12")},
		NodePortAddresses: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), dataplane.Loopback}, Tracking: DefaultTracking(),
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- RunProxy(ctx, config) }()
	eventually(t, "applied", func() bool {
		code, body := request("", health, "/healthz")
		return code == 200 && strings.Contains(body, `"status":{`)
	})
	checkServed(t, ns, config)
	marks := map[string]string{"iptables": "KUBE-SERVICES", "nftables": "table ip eastwest {", "ipvs": "table ip eastwest-ipvs {"}
	own := marks[backend] // there with endpoints or without
	delete(marks, backend)
	var text string
	defer func() {
		if t.Failed() {
			t.Log(text)
		}
	}()
	eventually(t, "only this backend is in the kernel", func() bool {
		text = kernelText(t, ns)
		for _, other := range marks {
			if strings.Contains(text, other) {
				return false
			}
		}
		return strings.Contains(text, own)
	})
	eventually(t, "connections are remembered as kube-proxy has it", func() bool {
		return parameter(ns, "net/netfilter/nf_conntrack_tcp_timeout_close_wait") == "3600"
	})
	open := map[bool]string{true: opened, false: "0"}[backend != backendIPVS]
	eventually(t, "loopback is open where the backend needs it", func() bool { return parameter(ns, routeLocalnet) == open })
	put(api, false)
	eventually(t, "the load balancer is told", func() bool { code, _ := request(ns, "127.0.0.1:30999", "/"); return code == 503 })
	checkMetrics(t, scrape, backend)
	api.Put("nodes", &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "worker"}, Spec: corev1.NodeSpec{
		PodCIDR: "10.244.0.0/24", Taints: []corev1.Taint{{Key: "ToBeDeletedByClusterAutoscaler", Effect: corev1.TaintEffectNoSchedule}}}})
	eventually(t, "a leaving node is not eligible", func() bool { code, _ := request("", health, "/healthz"); return code == 503 })
	if code, _ := request("", health, "/livez"); code != 200 {
		t.Errorf("/livez of a leaving node: %d", code)
	}
	api.Put("nodes", &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "worker"}, Spec: corev1.NodeSpec{PodCIDR: "10.244.0.0/24"}})
	flush := func() error { return nft.New(ns).Run(t.Context(), "flush ruleset\n") }
	if backend == "iptables" {
		flush = func() error {
			chains := iptables.New(ns)
			if version, err := chains.Version(t.Context()); err != nil || !version.InNftables() { // then tables are looked after as a whole
				return errors.Join(err, chains.Restore(t.Context(), iptables.IPv4, "*nat\n:KUBE-SERVICES - [0:0]\n:KUBE-POSTROUTING - [0:0]\nCOMMIT\n"))
			}
			return chains.Restore(t.Context(), iptables.IPv4, "*nat\n:KUBE-SERVICES - [0:0]\nCOMMIT\n")
		}
		own = "-A KUBE-SERVICES"
	}
	if err := flush(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "what somebody flushed is back", func() bool {
		return strings.Contains(kernelText(t, ns), own) && virtual(t, ns, backend)
	})
	cancel()
	if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("the proxy ended with %v", err)
	}
	if !strings.Contains(kernelText(t, ns), own) {
		t.Error("the rules went with the proxy")
	}
}

// virtual reports whether the rules that were flushed know the Service's address again, where they are what knows it.
func virtual(t *testing.T, ns, backend string) bool {
	t.Helper()
	set := map[string][2]string{"nftables": {nftTable, "service-ip"}, backendIPVS: {ipvs.TableName, "virtual-server"}}[backend]
	if set[0] == "" {
		return true
	}
	elements, err := nft.New(ns).Elements(t.Context(), nft.IPv4, set[0], set[1])
	if err != nil && !errors.Is(err, nft.ErrNotExist) {
		t.Fatal(err)
	}
	return len(elements) > 0
}

// checkServed looks at what a proxy with an endpoint on this node says of itself.
func checkServed(t *testing.T, ns string, config ProxyConfig) {
	t.Helper()
	if code, body := request("", config.HealthzAddress, "/healthz"); code != 200 || !json.Valid([]byte(body)) || !strings.Contains(body, `"nodeEligible":true`) {
		t.Errorf("/healthz: %d %s", code, body)
	}
	if code, body := request(ns, "127.0.0.1:30999", "/"); code != 200 || !strings.Contains(body, `"localEndpoints": 1`) {
		t.Errorf("healthCheckNodePort: %d %s", code, body)
	}
	if _, body := request("", config.MetricsAddress, "/proxyMode"); body != config.Backend {
		t.Errorf("/proxyMode: %s", body)
	}
}

// request asks for a path, from inside a network namespace when one is given.
func request(ns, address, path string) (code int, body string) {
	_ = inNetns(ns, func() error {
		conn, err := net.DialTimeout("tcp", address, patience)
		if err != nil {
			return err
		}
		defer conn.Close()
		fmt.Fprintf(conn, "GET %s HTTP/1.0\r\nHost: proxy\r\n\r\n", path)
		answer, err := io.ReadAll(conn)
		if err != nil {
			return err
		}
		head, rest, _ := strings.Cut(string(answer), "\r\n\r\n")
		body = rest
		_, err = fmt.Sscanf(head, "HTTP/1.0 %d", &code)
		return err
	})
	return code, body
}

func parameter(ns, name string) (value string) {
	_ = inNetns(ns, func() (err error) {
		value, err = sysctl.Get(name)
		return err
	})
	return value
}

func kernelText(t *testing.T, ns string) string {
	t.Helper()
	var text string
	for _, name := range []string{nftTable, ipvs.TableName} {
		listing, err := nft.New(ns).List(t.Context(), nft.IPv4, name)
		if err != nil && !errors.Is(err, nft.ErrNotExist) {
			t.Fatal(err)
		}
		text += listing
	}
	if ipvskernel.Check() == nil {
		servers, err := ipvskernel.New(ns).Servers(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range servers {
			text += fmt.Sprintf("virtual server %s of eastwest-ipvs\n", s.Key)
		}
	}
	chains, err := iptables.New(ns).Save(t.Context(), iptables.IPv4, "nat")
	if err != nil {
		t.Fatal(err)
	}
	return text + chains
}

const nftTable = "eastwest"

// A node port at which a process listens, and a health check port that one has, are told of in events; the Services are carried.
func TestTakenPorts(t *testing.T) {
	netnstest.RequireProgram(t, "iptables-restore")
	ns, api := netnstest.New(t), newCluster(t)
	netnstest.In(t, ns, func() error {
		for _, port := range []string{":31010", ":31015", "127.0.0.1:31011"} {
			listener, err := net.Listen("tcp", port)
			if err != nil {
				return err
			}
			t.Cleanup(func() { listener.Close() })
		}
		return nil
	})
	service := func(name string, port int32, check int32) {
		spec := corev1.ServiceSpec{
			Type: corev1.ServiceTypeLoadBalancer, ClusterIP: "10.96.1." + fmt.Sprint(port%100+1), IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol},
			Ports: []corev1.ServicePort{{Port: 80, Protocol: corev1.ProtocolTCP, NodePort: port}}, HealthCheckNodePort: check,
		}
		if spec.ClusterIPs = []string{spec.ClusterIP}; check != 0 {
			spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
		}
		api.Put("services", &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: "1"}, Spec: spec})
	}
	service("taken", 31010, 0)
	service("loopback", 31011, 0)
	service("unchecked", 31012, 31015)
	config := ProxyConfig{Detect: DetectNodeCIDR, NetworkConfig: NetworkConfig{
		Client: api.Client, NodeName: "worker", Netns: ns, Backend: "iptables", ServiceCIDRs: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/12")},
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- RunProxy(ctx, config) }()
	eventually(t, "an event of the node port", func() bool { return len(api.Events("taken")[takenReason]) > 0 })
	eventually(t, "an event of the health check port", func() bool { return len(api.Events("unchecked")[uncheckableReason]) > 0 })
	eventually(t, "the services", func() bool {
		text, err := iptables.New(ns).Save(t.Context(), iptables.IPv4, "filter")
		return err == nil && strings.Contains(text, "default/taken") && strings.Contains(text, "default/unchecked")
	})
	if events := api.Events("loopback"); len(events) > 0 {
		t.Errorf("a port of the loopback alone is told of: %v", events)
	}
	cancel()
	if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("the proxy ended with %v", err)
	}
}

// A Service that the kernel refuses is told of in an event and counted; the others are served, and it is as soon as it can.
func TestRefusedService(t *testing.T) {
	netnstest.RequireProgram(t, "iptables-restore")
	ns, api := netnstest.New(t), newCluster(t)
	// The API would never let such a name in.
	api.Put("services", &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: `bad"name`, UID: "1"}, Spec: corev1.ServiceSpec{
		ClusterIP: "10.96.0.9", ClusterIPs: []string{"10.96.0.9"}, IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol},
		Ports: []corev1.ServicePort{{Port: 80, Protocol: corev1.ProtocolTCP}},
	}})
	health, scrape := freePort(t), freePort(t)
	status := func() string {
		_, body := request("", health, "/healthz")
		return body
	}
	config := ProxyConfig{Detect: DetectNodeCIDR, HealthzAddress: health, MetricsAddress: scrape, NetworkConfig: NetworkConfig{
		Client: api.Client, NodeName: "worker", Netns: ns, Backend: "iptables", ServiceCIDRs: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/12")},
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- RunProxy(ctx, config) }()
	eventually(t, "an event", func() bool { return len(api.Events(`bad"name`)[refusedReason]) > 0 })
	if text := kernelText(t, ns); !strings.Contains(text, "default/nginx") || strings.Contains(text, "10.96.0.9") {
		t.Errorf("the kernel has:\n%s", text)
	}
	metric := func(line string) bool {
		_, body := request("", scrape, "/metrics")
		return strings.Contains(body, "\n"+line+"\n")
	}
	if !metric("eastwest_proxy_refused_services 1") {
		t.Error("the refused service is not counted")
	}
	if text := status(); !strings.Contains(text, `"refusedServices":["default/bad\"name"]`) {
		t.Errorf("the status does not name it: %s", text)
	}
	api.Drop("services", "default", `bad"name`)
	eventually(t, "it is not counted any more", func() bool { return metric("eastwest_proxy_refused_services 0") })
	if text := status(); strings.Contains(text, "refused") {
		t.Errorf("the status still has it: %s", text)
	}
	cancel()
	if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("the proxy ended with %v", err)
	}
}

// The limit of tracked connections follows the processors, and 0 leaves it alone.
func TestLimitOfTrackedConnections(t *testing.T) {
	for _, c := range []struct{ perCore, min, cores, want int }{
		{32768, 131072, 2, 131072}, {32768, 131072, 8, 262144}, {0, 131072, 8, 0}, {32768, 0, 2, 65536},
	} {
		if have := (Tracking{MaxPerCore: c.perCore, Min: c.min}).limit(c.cores); have != c.want {
			t.Errorf("%+v: %d", c, have)
		}
	}
}
