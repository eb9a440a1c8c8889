// SPDX-License-Identifier: Apache-2.0

package metrics

import (
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func familyOf(ipv6 bool) string {
	if ipv6 {
		return families[1]
	}
	return families[0]
}

// changes counts what the API tells, and how long it takes from what happened in the cluster until it is in the kernel.
type changes struct {
	programming         *prometheus.HistogramVec
	services, endpoints change

	mu      sync.Mutex
	waiting []trigger
}

// change counts the changes of one kind of object.
type change struct {
	total   prometheus.Counter
	pending prometheus.Gauge
}

// trigger is when something happened that is not in the kernel yet.
type trigger struct {
	at   time.Time
	ipv6 bool
}

func newChanges() *changes {
	kind := func(name, what string) change {
		return change{
			total: prometheus.NewCounter(prometheus.CounterOpts{Namespace: "kubeproxy", Name: "sync_proxy_rules_" + name + "_changes_total",
				Help: "Cumulative proxy rules " + what + " changes"}),
			pending: prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "kubeproxy", Name: "sync_proxy_rules_" + name + "_changes_pending",
				Help: "Pending proxy rules " + what + " changes"}),
		}
	}
	// Quarters of a second, then seconds, 5 and 30 seconds, up to 5 minutes, as dashboards expect.
	buckets := slices.Concat(prometheus.LinearBuckets(0.25, 0.25, 2), prometheus.LinearBuckets(1, 1, 59),
		prometheus.LinearBuckets(60, 5, 12), prometheus.LinearBuckets(120, 30, 7))
	return &changes{
		services: kind("service", "Service"), endpoints: kind("endpoint", "Endpoint"),
		programming: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "kubeproxy", Name: "network_programming_duration_seconds", Buckets: buckets,
			Help: "In Cluster Network Programming Latency in seconds",
		}, []string{"ip_family"}),
	}
}

// ServicesChanged notes that so many Services changed and wait to be applied.
func (m *Metrics) ServicesChanged(n int) { m.changes.services.add(n) }

// EndpointsChanged notes that an EndpointSlice changed, because of what happened at a time; zero is not known.
func (m *Metrics) EndpointsChanged(ipv6 bool, at time.Time) {
	m.changes.endpoints.add(1)
	if at.IsZero() {
		return
	}
	m.changes.mu.Lock()
	m.changes.waiting = append(m.changes.waiting, trigger{at, ipv6})
	m.changes.mu.Unlock()
}

func (c change) add(n int) {
	c.total.Add(float64(n))
	c.pending.Add(float64(n))
}

// begin takes what waits: it is being applied.
func (c *changes) begin() []trigger {
	c.services.pending.Set(0)
	c.endpoints.pending.Set(0)
	c.mu.Lock()
	defer c.mu.Unlock()
	waiting := c.waiting
	c.waiting = nil
	return waiting
}

// end observes what was applied; after an error it goes on waiting.
func (c *changes) end(applied []trigger, err error) {
	if err != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.waiting = append(applied, c.waiting...)
		return
	}
	for _, t := range applied {
		c.programming.WithLabelValues(familyOf(t.ipv6)).Observe(max(0, time.Since(t.at).Seconds()))
	}
}

func (c *changes) parts() []prometheus.Collector {
	return []prometheus.Collector{c.programming, c.services.total, c.services.pending, c.endpoints.total, c.endpoints.pending}
}

// Describe names the metrics.
func (c *changes) Describe(to chan<- *prometheus.Desc) {
	for _, part := range c.parts() {
		part.Describe(to)
	}
}

// Collect tells their values.
func (c *changes) Collect(to chan<- prometheus.Metric) {
	for _, part := range c.parts() {
		part.Collect(to)
	}
}
