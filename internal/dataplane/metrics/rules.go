// SPDX-License-Identifier: Apache-2.0

package metrics

import "github.com/prometheus/client_golang/prometheus"

// rules counts iptables rules.
type rules struct {
	total, last *prometheus.GaugeVec
	partial     *prometheus.CounterVec
}

func newRules() *rules {
	gauge := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "kubeproxy", Name: name, Help: help}, []string{"table", "ip_family"})
	}
	return &rules{
		total: gauge("sync_proxy_rules_iptables_total", "Total number of iptables rules owned by kube-proxy"),
		last:  gauge("sync_proxy_rules_iptables_last", "Number of iptables rules written by kube-proxy in last sync"),
		partial: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "kubeproxy", Name: "sync_proxy_rules_iptables_partial_restore_failures_total",
			Help: "Cumulative proxy iptables partial restore failures"}, []string{"ip_family"}),
	}
}

// Rules notes how many rules a table has that are ours, and how many of them were written last.
func (m *Metrics) Rules(family, table string, total, last int) {
	if m.rules == nil {
		return
	}
	m.rules.total.WithLabelValues(table, family).Set(float64(total))
	m.rules.last.WithLabelValues(table, family).Set(float64(last))
}

// failed notes that writing a part of the rules failed; all are written next.
func (r *rules) failed() {
	for _, f := range families {
		r.partial.WithLabelValues(f).Inc()
	}
}

// Describe names the metrics.
func (r *rules) Describe(to chan<- *prometheus.Desc) {
	r.total.Describe(to)
	r.last.Describe(to)
	r.partial.Describe(to)
}

// Collect tells their values.
func (r *rules) Collect(to chan<- prometheus.Metric) {
	r.total.Collect(to)
	r.last.Collect(to)
	r.partial.Collect(to)
}
