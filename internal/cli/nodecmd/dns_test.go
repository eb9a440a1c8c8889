// SPDX-License-Identifier: Apache-2.0

package nodecmd

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	mdns "github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"eastwest/internal/kubelet/apidouble"
)

// startAPI serves one service with a virtual IP, one headless with a pod behind it, and returns a kubeconfig.
func startAPI(t *testing.T) (kubeconfig string) {
	t.Helper()
	_, kubeconfig = startWorld(t)
	return kubeconfig
}

func startWorld(t *testing.T) (api *apidouble.Server, kubeconfig string) {
	t.Helper()
	api, err := apidouble.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(api.Close)
	meta := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: "default", Name: name} }
	port := []corev1.ServicePort{{Name: "http", Protocol: corev1.ProtocolTCP, Port: 80}}
	api.Put("namespaces", &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}})
	api.Put("services", &corev1.Service{ObjectMeta: meta("web"), Spec: corev1.ServiceSpec{ClusterIP: "10.96.0.20", ClusterIPs: []string{"10.96.0.20"}, Ports: port}})
	api.Put("services", &corev1.Service{ObjectMeta: meta("db"), Spec: corev1.ServiceSpec{ClusterIP: "None", ClusterIPs: []string{"None"}, Ports: port}})
	host := "db-0"
	slice := &discoveryv1.EndpointSlice{ObjectMeta: meta("db-x"), AddressType: discoveryv1.AddressTypeIPv4,
		Ports: []discoveryv1.EndpointPort{{Name: &port[0].Name, Protocol: &port[0].Protocol, Port: &port[0].Port}},
		Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.244.1.5"}, Hostname: &host,
			TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: "db-0"}}}}
	slice.Labels = map[string]string{discoveryv1.LabelServiceName: "db"}
	api.Put("endpointslices", slice)
	kubeconfig = filepath.Join(t.TempDir(), "config")
	text := fmt.Sprintf("apiVersion: v1\nkind: Config\nclusters: [{name: a, cluster: {server: %q}}]\ncontexts: [{name: a, context: {cluster: a}}]\ncurrent-context: a\n", api.Client.Config().Host)
	if err := os.WriteFile(kubeconfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return api, kubeconfig
}

func run(ctx context.Context, args ...string) (status int, stdout, stderr string) {
	var out, errs bytes.Buffer
	status = Main(ctx, append([]string{"eastwest"}, args...), Streams{In: strings.NewReader(""), Out: &out, Err: &errs})
	return status, out.String(), errs.String()
}

func TestDNSQuerySaysWhereRecordsComeFrom(t *testing.T) {
	kubeconfig := startAPI(t)
	for _, c := range []struct{ name, qtype, want string }{
		{"web", "A", "web.default.svc.cluster.local. 30 IN A 10.96.0.20  # Service default/web\n"},
		{"db.default", "A", "db.default.svc.cluster.local. 30 IN A 10.244.1.5  # Service default/db, Pod default/db-0\n"},
		{"_http._tcp.db.default.svc", "srv", "_http._tcp.db.default.svc.cluster.local. 30 IN SRV 0 100 80 db-0.db.default.svc.cluster.local.  # Service default/db, Pod default/db-0\n"},
		{"10.96.0.20", "PTR", "20.0.96.10.in-addr.arpa. 30 IN PTR web.default.svc.cluster.local.  # Service default/web\n"},
		{"web", "AAAA", "web.default.svc.cluster.local. NOERROR: the name exists and has no records of type AAAA\n"},
		{"none", "A", "none.default.svc.cluster.local. NXDOMAIN: no object of the cluster has this name\n"},
		{"www.example.com.", "A", "www.example.com. is no name of the cluster: it is forwarded\n"},
	} {
		status, out, errs := run(t.Context(), "dns", "query", c.name, "--type", c.qtype, "--kubeconfig", kubeconfig)
		if status != 0 || out != c.want {
			t.Errorf("%s %s: status %d\n got %q\nwant %q\n%s", c.name, c.qtype, status, out, c.want, errs)
		}
	}
	if status, _, errs := run(t.Context(), "dns", "query", "web", "--type", "no", "--kubeconfig", kubeconfig); status != 2 || !strings.Contains(errs, `"no" is no type of records`) {
		t.Errorf("status %d: %s", status, errs)
	}
	// Without the flag it is the kubeconfig that kubectl takes.
	t.Setenv("KUBECONFIG", kubeconfig)
	if status, out, errs := run(t.Context(), "dns", "query", "web"); status != 0 || !strings.Contains(out, "10.96.0.20") {
		t.Errorf("with $KUBECONFIG: status %d: %s%s", status, out, errs)
	}
	t.Setenv("KUBECONFIG", kubeconfig+".missing")
	if status, _, errs := run(t.Context(), "dns", "query", "web"); status != 1 || !strings.Contains(errs, "there is no kubeconfig") {
		t.Errorf("with none: status %d: %s", status, errs)
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// startDNS runs `dns` with arguments until the test ends.
func startDNS(t *testing.T, args ...string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan string, 1)
	go func() {
		status, _, errs := run(ctx, append([]string{"dns"}, args...)...)
		done <- fmt.Sprint(status, errs)
	}()
	t.Cleanup(func() {
		cancel()
		if got := <-done; !strings.HasPrefix(got, "0") {
			t.Errorf("dns ended with %s", got)
		}
	})
}

// await asks until the answer is as wanted: the server has to start and to read the cluster first.
func await(t *testing.T, server, name string, qtype uint16, want string) {
	t.Helper()
	c := mdns.Client{Timeout: time.Second}
	got := ""
	for range 200 {
		m, _, err := c.Exchange(new(mdns.Msg).SetQuestion(name, qtype), server)
		if err == nil {
			got = mdns.RcodeToString[m.Rcode]
			for _, rr := range m.Answer {
				got += " " + strings.ReplaceAll(strings.TrimPrefix(rr.String(), rr.Header().String()), "\t", " ")
			}
			if got == want {
				return
			}
		}
		time.Sleep(25 * time.Millisecond)
	}
	t.Fatalf("%s: got %q, want %q", name, got, want)
}

func TestDNSAloneServesAnyCluster(t *testing.T) {
	listen := freeAddress(t)
	startDNS(t, "--kubeconfig", startAPI(t), "--listen", listen, "--resolv-conf", "")
	await(t, listen, "web.default.svc.cluster.local.", mdns.TypeA, "NOERROR 10.96.0.20")
	await(t, listen, "db-0.db.default.svc.cluster.local.", mdns.TypeA, "NOERROR 10.244.1.5")
	await(t, listen, "none.default.svc.cluster.local.", mdns.TypeA, "NXDOMAIN")
}

// A pod that a Service selects gets what is at the end of its search path at once; an address of a node is nobody's.
func TestDNSAloneKnowsPodsOfServices(t *testing.T) {
	api, kubeconfig := startWorld(t)
	slice := api.Get("endpointslices", "default", "db-x").(*discoveryv1.EndpointSlice)
	slice.Endpoints[0].Addresses = []string{"127.0.0.1"}
	api.Put("endpointslices", slice)
	file, listen := filepath.Join(t.TempDir(), "dns.yaml"), freeAddress(t)
	if err := os.WriteFile(file, []byte("hosts: [{address: 192.0.2.7, names: [a.example]}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	startDNS(t, "--kubeconfig", kubeconfig, "--listen", listen, "--resolv-conf", "", "--config", file)
	const search = "a.example.default.svc.cluster.local."
	await(t, listen, search, mdns.TypeA, "NOERROR a.example. 192.0.2.7")
	api.Put("nodes", &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "one"}, Status: corev1.NodeStatus{
		Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "127.0.0.1"}}}})
	await(t, listen, search, mdns.TypeA, "NXDOMAIN")
}
