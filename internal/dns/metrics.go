// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	mdns "github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics have CoreDNS's names and labels where the meaning is the same, so that dashboards and alerts go on working.
var (
	descRequests = desc("coredns_dns_requests_total", "Queries by transport, family and type.", "server", "zone", "view", "proto", "family", "type")
	descReplies  = desc("coredns_dns_responses_total", "Answers by code, and by what gave them.", "server", "zone", "view", "rcode", "plugin")
	descEntries  = desc("coredns_cache_entries", "Entries of the cache, positive and negative ones.", "server", "type", "zones", "view")
	descDuration = desc("coredns_dns_request_duration_seconds", "How long answers took.", "server", "zone", "view")
	descLookups  = desc("coredns_cache_requests_total", "Queries that the cache was asked about.", "server", "zones", "view")
	descHits     = desc("coredns_cache_hits_total", "Queries answered from the cache, by code: success is NOERROR, denial all others.", "server", "type", "zones", "view")
	descMisses   = desc("coredns_cache_misses_total", "Queries that the cache could not answer.", "server", "zones", "view")
	descStale    = desc("coredns_cache_served_stale_total", "Queries answered with an expired entry, because no upstream answered.", "server", "zones", "view")
	descPrefetch = desc("coredns_cache_prefetch_total", "Entries fetched anew before they expired.", "server", "zones", "view")
	descRejects  = desc("coredns_forward_max_concurrent_rejects_total", "Queries refused because too many were waiting for upstreams.")
	descDropped  = desc("eastwest_dns_flood_drops_total", "Queries that were not answered because their client left too little to others.")
	descReady    = desc("eastwest_dns_ready", "1 when the cluster's names are known.")
	descAge      = desc("eastwest_dns_table_age_seconds", "Seconds since the names were last known to be those of the API server.")
	descMended   = desc("eastwest_dns_lost_events_total", "Changes that the watches of the API server did not tell, and that were found out all the same.")
	descUpstream = desc("eastwest_dns_upstream_up", "1 when the upstream answers.", "to")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

var _ prometheus.Collector = (*Server)(nil)

// Describe sends what can be collected.
func (s *Server) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descRequests, descReplies, descDuration, descEntries, descLookups, descHits, descMisses, descStale, descPrefetch, descRejects, descDropped, descReady, descAge, descMended, descUpstream} {
		out <- d
	}
}

// Collect adds up what all sockets counted.
func (s *Server) Collect(out chan<- prometheus.Metric) {
	const anywhere, view = ".", ""
	server := "dns://" + s.Addrs()[0].String()
	count := func(d *prometheus.Desc, v uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	for i, proto := range []string{"udp", "tcp"} {
		for j, family := range []string{"1", "2"} {
			for k, name := range typeNames {
				if v := s.sum(func(c *counters) *atomic.Uint64 { return &c.requests[i][j][k] }); v > 0 {
					count(descRequests, v, server, anywhere, view, proto, family, name)
				}
			}
		}
	}
	for from := range sources {
		for rcode := range countedRcodes {
			if v := s.sum(func(c *counters) *atomic.Uint64 { return &c.responses[from][rcode] }); v > 0 {
				count(descReplies, v, server, anywhere, view, mdns.RcodeToString[rcode], from.String())
			}
		}
	}
	success, all := s.sum(func(c *counters) *atomic.Uint64 { return &c.responses[fromCached][mdns.RcodeSuccess] }), uint64(0)
	for rcode := range countedRcodes {
		all += s.sum(func(c *counters) *atomic.Uint64 { return &c.responses[fromCached][rcode] })
	}
	count(descHits, success, server, "success", anywhere, view)
	count(descHits, all-success, server, "denial", anywhere, view)
	count(descLookups, all+s.sum(func(c *counters) *atomic.Uint64 { return &c.misses }), server, anywhere, view)
	out <- s.durations(server, anywhere, view)
	count(descMisses, s.sum(func(c *counters) *atomic.Uint64 { return &c.misses }), server, anywhere, view)
	count(descStale, s.sum(func(c *counters) *atomic.Uint64 { return &c.stale }), server, anywhere, view)
	count(descPrefetch, s.sum(func(c *counters) *atomic.Uint64 { return &c.prefetch }), server, anywhere, view)
	count(descRejects, s.sum(func(c *counters) *atomic.Uint64 { return &c.rejected }))
	count(descDropped, s.sum(func(c *counters) *atomic.Uint64 { return &c.dropped }))
	s.collectState(out, server)
}

// durations is the histogram of all sockets.
func (s *Server) durations(labels ...string) prometheus.Metric {
	below, total := map[float64]uint64{}, uint64(0)
	for i := range countedDurations + 1 {
		total += s.sum(func(c *counters) *atomic.Uint64 { return &c.durations[i] })
		if i < countedDurations {
			below[durationBuckets[i]] = total
		}
	}
	nanoseconds := s.sum(func(c *counters) *atomic.Uint64 { return &c.duration })
	return prometheus.MustNewConstHistogram(descDuration, total, float64(nanoseconds)/1e9, below, labels...)
}

// age is since when the zone's names may be old.
func (s *Server) age() time.Duration {
	if s.cfg.Feed != nil {
		if at := s.cfg.Feed.Confirmed(); !at.IsZero() {
			return time.Since(at)
		}
	}
	return time.Since(time.Unix(0, s.cfg.Zone.applied.Load()))
}

func (s *Server) collectState(out chan<- prometheus.Metric, server string) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(descEntries, float64(s.cache.Len()), server, "success", ".", "")
	if z := s.cfg.Zone; z != nil {
		ready := 0.0
		if z.Ready() {
			ready = 1
			gauge(descAge, s.age().Seconds())
		}
		gauge(descReady, ready)
		if s.cfg.Feed != nil {
			out <- prometheus.MustNewConstMetric(descMended, prometheus.CounterValue, float64(s.cfg.Feed.Mended()))
		}
	}
	for addr, up := range s.forward.States() {
		v := 0.0
		if up {
			v = 1
		}
		gauge(descUpstream, v, addr.String())
	}
}

// sum adds one counter up over all sockets.
func (s *Server) sum(of func(*counters) *atomic.Uint64) (total uint64) {
	for _, c := range s.counters {
		total += of(c).Load()
	}
	return total
}

// Handler serves /metrics, /health (the process runs) and /ready (the cluster's names are known).
func (s *Server) Handler() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(s)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4}))
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "OK") })
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, _ *http.Request) {
		if !s.Ready() {
			http.Error(w, "the cluster's names are not known yet", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprint(w, "OK")
	})
	return mux
}

// Observe serves Handler at an address until ctx ends.
func (s *Server) Observe(ctx context.Context, address string) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("serve dns metrics: %w", err)
	}
	web := &http.Server{Handler: s.Handler(), ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 10 * time.Second, MaxHeaderBytes: 1 << 14}
	stop := context.AfterFunc(ctx, func() { _ = web.Close() })
	defer stop()
	if err := web.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve dns metrics: %w", err)
	}
	return nil
}
