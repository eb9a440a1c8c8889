// SPDX-License-Identifier: Apache-2.0

package node

import (
	"strings"
	"testing"
)

func checkMetrics(t *testing.T, address, backend string) {
	t.Helper()
	names := []string{
		"sync_proxy_rules_duration_seconds_count", "sync_proxy_rules_last_timestamp_seconds", "proxy_healthz_total",
		"sync_full_proxy_rules_duration_seconds", "conntrack_reconciler_sync_duration_seconds", "sync_proxy_rules_service_changes_total 1",
		"sync_proxy_rules_endpoint_changes_total 2", "sync_proxy_rules_endpoint_changes_pending 0",
		`sync_proxy_rules_no_local_endpoints_total{ip_family="IPv4",traffic_policy="external"} 0`,
		`network_programming_duration_seconds_count{ip_family="IPv4"} 1`, // what happened before the proxy began is not counted
	}
	if backend == "iptables" {
		names = append(names, `sync_proxy_rules_iptables_total{ip_family="IPv4",table="nat"} `, `sync_proxy_rules_iptables_last{ip_family="IPv6",table="filter"} `)
	}
	for i := range names {
		names[i] = "kubeproxy_" + names[i]
	}
	names = append(names, `rest_client_requests_total{code="200",host="`)
	for _, name := range names {
		eventually(t, "metric "+name, func() bool {
			_, body := request("", address, "/metrics")
			return strings.Contains(body, name)
		})
	}
	if _, body := request("", address, "/healthz"); body != "ok" {
		t.Errorf("/healthz beside the metrics: %s", body)
	}
}
