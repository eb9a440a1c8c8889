// SPDX-License-Identifier: Apache-2.0

package healthcheck_test

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
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
	return table.Service{Object: table.Object{Kind: "Service", Namespace: "default", Name: name}, HealthCheck: port, LocalEndpoints: local}
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
	want := "{\n\t\"service\": {\n\t\t\"namespace\": \"default\",\n\t\t\"name\": \"nginx\"\n\t},\n\t\"localEndpoints\": 2,\n\t\"serviceProxyHealthy\": true\n}\n"
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
