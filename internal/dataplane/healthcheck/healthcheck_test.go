// SPDX-License-Identifier: Apache-2.0

package healthcheck_test

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"testing"

	"eastwest/internal/dataplane/healthcheck"
	"eastwest/internal/table"
)

// ports gives out free ports of loopback for the numbers that Services ask for.
type ports map[uint16]string

func (p ports) listen(port uint16) ([]net.Listener, error) {
	if port == 1 {
		return nil, fmt.Errorf("port %d is taken", port)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err == nil {
		p[port] = l.Addr().String()
	}
	return []net.Listener{l}, err
}

func row(name string, port uint16, local int) table.Service {
	return table.Service{Object: table.Object{Kind: "Service", Namespace: "default", Name: name}, HealthCheck: port, LocalEndpoints: table.Count{IPv4: local}}
}

func get(t *testing.T, addr string) (int, string, string) {
	t.Helper()
	response, err := http.Get("http://" + addr)
	if err != nil {
		return 0, "", ""
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	return response.StatusCode, string(body), response.Header.Get("X-Load-Balancing-Endpoint-Weight")
}

// A node with endpoints is healthy, one without is not, and the port goes with the Service.
func TestLoadBalancersAreTold(t *testing.T) {
	open, healthy := ports{}, true
	b := healthcheck.New(healthcheck.Config{Listen: open.listen, Healthy: func() bool { return healthy }, Log: slog.New(slog.DiscardHandler)})
	apply := func(rows ...table.Service) error {
		set := map[string]table.Service{}
		for _, r := range rows {
			set[r.Key()] = r
		}
		return b.Apply(t.Context(), table.Table[table.Service]{}.With(set), table.Keys{All: true})
	}
	if err := apply(row("nginx", 30999, 2)); err != nil {
		t.Fatal(err)
	}
	addr := open[30999]
	code, body, weight := get(t, addr)
	want := "{\n\t\"service\": {\n\t\t\"namespace\": \"default\",\n\t\t\"name\": \"nginx\"\n\t},\n\t\"localEndpoints\": 2,\n\t\"serviceProxyHealthy\": true\n}"
	if code != 200 || body != want || weight != "2" {
		t.Errorf("with endpoints: %d %s weight %s", code, body, weight)
	}
	healthy = false
	if code, _, _ := get(t, addr); code != 503 {
		t.Errorf("proxy behind: %d, want 503", code)
	}
	healthy = true
	if err := apply(row("nginx", 30999, 0)); err != nil {
		t.Fatal(err)
	}
	if code, _, weight := get(t, addr); code != 503 || weight != "0" {
		t.Errorf("without endpoints: %d weight %s, want 503 and 0", code, weight)
	}
	if err := apply(row("taken", 1, 1), row("other", 30998, 1)); err == nil {
		t.Error("no error for a port that is taken")
	}
	if code, _, _ := get(t, open[30998]); code != 200 {
		t.Errorf("beside a port that is taken: %d, want 200", code)
	}
	if code, _, _ := get(t, addr); code != 0 {
		t.Errorf("after the Service is gone: %d, want no connection", code)
	}
	if err := b.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left, _ := b.Dump(t.Context()); left != "" {
		t.Errorf("left open: %s", left)
	}
}

// A pod of both families is one endpoint to whoever asks by either; a Service of one family is asked by both.
func TestFamilyOfTheLoadBalancer(t *testing.T) {
	listener, err := net.Listen("tcp", "[::]:0")
	if err != nil {
		t.Skip("this machine has no IPv6:", err)
	}
	port := listener.Addr().(*net.TCPAddr).Port
	b := healthcheck.New(healthcheck.Config{
		Listen:  func(uint16) ([]net.Listener, error) { return []net.Listener{listener}, nil },
		Healthy: func() bool { return true }, Log: slog.New(slog.DiscardHandler),
	})
	four, six := netip.MustParseAddr("10.96.0.7"), netip.MustParseAddr("fd00:96::7")
	for name, test := range map[string]struct {
		addresses  []netip.Addr
		count      table.Count
		by4, by6   string
		want, also int
	}{
		"both families":        {[]netip.Addr{four, six}, table.Count{IPv4: 2, IPv6: 2}, "2", "2", 200, 200},
		"endpoints of IPv4":    {[]netip.Addr{four, six}, table.Count{IPv4: 1}, "1", "0", 200, 503},
		"a Service of IPv4":    {[]netip.Addr{four}, table.Count{IPv4: 3}, "3", "3", 200, 200},
		"a Service of IPv6":    {[]netip.Addr{six}, table.Count{IPv6: 3}, "3", "3", 200, 200},
		"a Service without it": {[]netip.Addr{six}, table.Count{}, "0", "0", 503, 503},
	} {
		row := table.Service{Object: table.Object{Namespace: "default", Name: "nginx"}, Addresses: test.addresses, HealthCheck: 30999, LocalEndpoints: test.count}
		if err := b.Apply(t.Context(), table.Table[table.Service]{}.With(map[string]table.Service{row.Key(): row}), table.Keys{All: true}); err != nil {
			t.Fatal(err)
		}
		code4, _, weight4 := get(t, fmt.Sprintf("127.0.0.1:%d", port))
		code6, _, weight6 := get(t, fmt.Sprintf("[::1]:%d", port))
		if code4 != test.want || weight4 != test.by4 || code6 != test.also || weight6 != test.by6 {
			t.Errorf("%s: over IPv4 %d %s, over IPv6 %d %s", name, code4, weight4, code6, weight6)
		}
	}
	if err := b.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
}
