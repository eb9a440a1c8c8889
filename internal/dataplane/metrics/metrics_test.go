// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"eastwest/internal/table"
)

// A Service counts once for each policy and family that drops its packets on this node.
func TestNoLocalEndpoints(t *testing.T) {
	frontend := func(kind table.Kind, addr string, action table.Action) table.Frontend {
		return table.Frontend{Kind: kind, Addr: netip.MustParseAddr(addr), Action: action}
	}
	rows := table.Table[table.Service]{}.With(map[string]table.Service{
		"a/a": {Frontends: []table.Frontend{
			frontend(table.ClusterIP, "10.96.0.1", table.Drop), frontend(table.ClusterIP, "10.96.0.1", table.Drop),
			frontend(table.NodePort, "::", table.Drop), frontend(table.NodePort, "0.0.0.0", table.Forward),
		}},
		"a/b": {Frontends: []table.Frontend{frontend(table.ClusterIP, "10.96.0.2", table.Drop), frontend(table.ClusterIP, "fd00:96::2", table.Reject)}},
	})
	answer := httptest.NewRecorder()
	New("nftables", func() table.Table[table.Service] { return rows }).Handler().ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	for _, want := range []string{
		`{ip_family="IPv4",traffic_policy="internal"} 2`, `{ip_family="IPv6",traffic_policy="internal"} 0`,
		`{ip_family="IPv4",traffic_policy="external"} 0`, `{ip_family="IPv6",traffic_policy="external"} 1`,
	} {
		if text := answer.Body.String(); !strings.Contains(text, "kubeproxy_sync_proxy_rules_no_local_endpoints_total"+want) {
			t.Errorf("want %s in:\n%s", want, text)
		}
	}
}
