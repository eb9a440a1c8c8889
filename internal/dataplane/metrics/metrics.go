// SPDX-License-Identifier: Apache-2.0

// Package metrics counts what the services dataplane does under the names that users of kube-proxy graph, where the
// meaning is the same. Both families are written together here: each observation stands under both.
package metrics

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"eastwest/internal/dataplane"
	"eastwest/internal/table"
)

var families = []string{"IPv4", "IPv6"}

// Metrics is one proxy's registry. Safe for concurrent use.
type Metrics struct {
	registry            *prometheus.Registry
	sync, full, partial *prometheus.HistogramVec
	last, queued        *prometheus.GaugeVec
	failures            *prometheus.CounterVec
	healthz, livez      *prometheus.CounterVec
	connections         *prometheus.HistogramVec
	removed             *prometheus.CounterVec
	changes             *changes
	requests            *requests
	keptOut             atomic.Pointer[func() []string]
	rules               *rules // nil unless there are iptables
}

// New makes the registry of a proxy with a backend of this name. services is asked at each scrape.
func New(backend string, services func() table.Table[table.Service]) *Metrics {
	buckets := prometheus.ExponentialBuckets(0.001, 2, 15)
	histogram := func(name, help string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: "kubeproxy", Name: name, Help: help, Buckets: buckets}, []string{"ip_family"})
	}
	gauge := func(name, help string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "kubeproxy", Name: name, Help: help}, []string{"ip_family"})
	}
	counter := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "kubeproxy", Name: name, Help: help}, []string{label})
	}
	failures := map[string]string{"nftables": "sync_proxy_rules_nftables_sync_failures_total", "iptables": "sync_proxy_rules_iptables_restore_failures_total"}[backend]
	if failures == "" {
		failures = "sync_proxy_rules_" + backend + "_sync_failures_total"
	}
	m := &Metrics{
		registry:    prometheus.NewRegistry(),
		changes:     newChanges(),
		requests:    newRequests(),
		sync:        histogram("sync_proxy_rules_duration_seconds", "SyncProxyRules latency in seconds"),
		full:        histogram("sync_full_proxy_rules_duration_seconds", "SyncProxyRules latency in seconds for full resyncs"),
		partial:     histogram("sync_partial_proxy_rules_duration_seconds", "SyncProxyRules latency in seconds for partial resyncs"),
		last:        gauge("sync_proxy_rules_last_timestamp_seconds", "The last time proxy rules were successfully synced"),
		queued:      gauge("sync_proxy_rules_last_queued_timestamp_seconds", "The last time a sync of proxy rules was queued"),
		failures:    counter(failures, "Cumulative proxy sync failures", "ip_family"),
		healthz:     counter("proxy_healthz_total", "Cumulative proxy healthz HTTP status", "code"),
		livez:       counter("proxy_livez_total", "Cumulative proxy livez HTTP status", "code"),
		connections: histogram("conntrack_reconciler_sync_duration_seconds", "Conntrack reconciler latency in seconds"),
		removed:     counter("conntrack_reconciler_deleted_entries_total", "Cumulative conntrack flows deleted by conntrack reconciler", "ip_family"),
	}
	if backend == "iptables" {
		m.rules = newRules()
		m.registry.MustRegister(m.rules)
	}
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Namespace: "eastwest", Name: "proxy_refused_services", Help: "Services that this node does not serve because its kernel refuses them",
	}, m.countKeptOut))
	m.registry.MustRegister(m.sync, m.full, m.partial, m.last, m.queued, m.failures, m.healthz, m.livez, m.connections, m.removed,
		&noLocalEndpoints{services: services}, m.changes, m.requests.total, m.requests.took, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// KeptOut has a gauge of the Services that the kernel refuses; which are asked for at each scrape.
func (m *Metrics) KeptOut(names func() []string) { m.keptOut.Store(&names) }

// countKeptOut returns how many Services the kernel refuses; none before somebody says which.
func (m *Metrics) countKeptOut() float64 {
	if names := m.keptOut.Load(); names != nil {
		return float64(len((*names)()))
	}
	return 0
}

// Handler serves the registry as text.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// Queued notes that a newer table waits to be applied.
func (m *Metrics) Queued() {
	for _, f := range families {
		m.queued.WithLabelValues(f).SetToCurrentTime()
	}
}

// Connections notes one look at the kernel's connections.
func (m *Metrics) Connections(removed table.Count, took time.Duration) {
	for _, f := range families {
		m.connections.WithLabelValues(f).Observe(took.Seconds())
	}
	m.removed.WithLabelValues(families[0]).Add(float64(removed.IPv4))
	m.removed.WithLabelValues(families[1]).Add(float64(removed.IPv6))
}

// Asked notes an answer of /healthz or /livez.
func (m *Metrics) Asked(live bool, code int) {
	counter := m.healthz
	if live {
		counter = m.livez
	}
	counter.WithLabelValues(strconv.Itoa(code)).Inc()
}

// observed is a dataplane whose work is counted.
type observed struct {
	dataplane.Dataplane[table.Service]
	metrics *Metrics
}

// Observe makes a dataplane that counts what inner does.
func (m *Metrics) Observe(inner dataplane.Dataplane[table.Service]) dataplane.Dataplane[table.Service] {
	return observed{inner, m}
}

// Apply applies with the dataplane inside.
func (o observed) Apply(ctx context.Context, want table.Table[table.Service], changed table.Keys) error {
	begin := time.Now()
	waiting := o.metrics.changes.begin()
	err := o.Dataplane.Apply(ctx, want, changed)
	o.metrics.changes.end(waiting, err)
	if err != nil && !changed.All && o.metrics.rules != nil {
		o.metrics.rules.failed()
	}
	took := time.Since(begin).Seconds()
	of := o.metrics.partial
	if changed.All {
		of = o.metrics.full
	}
	for _, f := range families {
		if err != nil {
			o.metrics.failures.WithLabelValues(f).Inc()
			continue
		}
		o.metrics.sync.WithLabelValues(f).Observe(took)
		of.WithLabelValues(f).Observe(took)
		o.metrics.last.WithLabelValues(f).SetToCurrentTime()
	}
	return err
}

// noLocalEndpoints counts, when it is asked, the Services whose traffic policy drops on this node.
type noLocalEndpoints struct {
	services func() table.Table[table.Service]

	mu      sync.Mutex
	counted table.Table[table.Service] // what counts are of
	counts  [2][2]int                  // by policy, internal first, and family
}

var noLocal = prometheus.NewDesc("kubeproxy_sync_proxy_rules_no_local_endpoints_total",
	"Number of services with a Local traffic policy and no endpoints", []string{"traffic_policy", "ip_family"}, nil)

// Describe names the one metric.
func (*noLocalEndpoints) Describe(to chan<- *prometheus.Desc) { to <- noLocal }

// Collect counts, if there is another table than the last time: there may be tens of thousands of rows.
func (n *noLocalEndpoints) Collect(to chan<- prometheus.Metric) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if rows := n.services(); rows != n.counted {
		n.counted, n.counts = rows, dropping(rows)
	}
	for p, policy := range []string{"internal", "external"} {
		for f, family := range families {
			to <- prometheus.MustNewConstMetric(noLocal, prometheus.GaugeValue, float64(n.counts[p][f]), policy, family)
		}
	}
}

// dropping counts the Services that drop by policy and family.
func dropping(rows table.Table[table.Service]) (counts [2][2]int) {
	for _, row := range rows.All() {
		var dropped [2][2]int
		for i := range row.Frontends {
			if f := &row.Frontends[i]; f.Action == table.Drop {
				dropped[index(f.Kind != table.ClusterIP)][index(f.Addr.Is6())] = 1
			}
		}
		for p := range dropped {
			for f, one := range dropped[p] {
				counts[p][f] += one
			}
		}
	}
	return counts
}

func index(second bool) int {
	if second {
		return 1
	}
	return 0
}
