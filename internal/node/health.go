// SPDX-License-Identifier: Apache-2.0

package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"slices"
	"time"

	"eastwest/internal/client"
)

// servers starts what answers probes and scrapes.
func (c *ProxyConfig) servers(progress func() Progress) ([]*http.Server, error) {
	c.Client.Observe(func(r client.Request) { c.Metrics.Requested(r.Code, r.Method, r.Host, r.Watch, r.Took) })
	health := http.NewServeMux()
	health.Handle("/healthz", c.health(progress, false))
	health.Handle("/livez", c.health(progress, true))
	scrape := http.NewServeMux()
	scrape.Handle("/metrics", c.Metrics.Handler())
	scrape.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") })
	scrape.HandleFunc("/proxyMode", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, c.Backend) })
	if c.Profiling {
		scrape.HandleFunc("/debug/pprof/", pprof.Index)
		scrape.HandleFunc("/debug/pprof/profile", pprof.Profile)
		scrape.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		scrape.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	var out []*http.Server
	for _, s := range []struct {
		what, addr string
		handler    http.Handler
	}{{"healthz", c.HealthzAddress, health}, {"metrics", c.MetricsAddress, scrape}} {
		if s.addr == "" {
			continue
		}
		listener, err := net.Listen("tcp", s.addr)
		if err != nil {
			for _, server := range out {
				server.Close()
			}
			return nil, fmt.Errorf("serve %s: %w", s.what, err)
		}
		server := &http.Server{Handler: s.handler, ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 16 << 10}
		go func() {
			if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
				c.Log.Error("serve "+s.what, "address", s.addr, "err", err)
			}
		}()
		out = append(out, server)
	}
	return out, nil
}

// familyHealth is what /healthz says of one family.
type familyHealth struct {
	LastUpdated time.Time `json:"lastUpdated"`
	Healthy     bool      `json:"healthy"`
}

// proxyHealth is the answer of /healthz and /livez, in the form that kube-proxy gives it.
type proxyHealth struct {
	LastUpdated  time.Time               `json:"lastUpdated"`
	CurrentTime  time.Time               `json:"currentTime"`
	NodeEligible *bool                   `json:"nodeEligible,omitempty"`
	Healthy      bool                    `json:"healthy"`
	Status       map[string]familyHealth `json:"status,omitempty"`          // by family, once its rules are in place
	Refused      []string                `json:"refusedServices,omitempty"` // ours: by the kernel; see quarantine
}

// healthOf is what a proxy of some families says of its progress. Of one that is well, the time is now, as probes expect it.
func healthOf(p Progress, families []string, now time.Time) proxyHealth {
	out := proxyHealth{LastUpdated: p.Applied, CurrentTime: now, Healthy: p.Healthy(), Refused: p.Refused}
	if !p.Applied.IsZero() { // both are written together
		out.Status = map[string]familyHealth{}
		for _, family := range families {
			out.Status[family] = familyHealth{p.Applied, out.Healthy}
		}
	}
	return out
}

// health answers as kube-proxy does: /livez says whether the proxy keeps up, /healthz also whether the node may be sent to. One
// that only begins keeps up.
func (c *ProxyConfig) health(progress func() Progress, live bool) http.Handler {
	families := familiesServed(c.NodeIPs)
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		p := progress()
		out := healthOf(p, families, time.Now())
		healthy := out.Healthy
		if !live {
			out.NodeEligible = &p.Eligible
			healthy = healthy && p.Eligible
		}
		code := http.StatusServiceUnavailable
		if healthy {
			code, out.LastUpdated = http.StatusOK, out.CurrentTime
		}
		c.Metrics.Asked(live, code)
		text, err := json.Marshal(out)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.WriteHeader(code)
		_, _ = w.Write(text)
	})
}

// familiesServed names the families of a node's addresses; both where these are not known.
func familiesServed(addrs []netip.Addr) []string {
	var out []string
	for _, name := range []string{"IPv4", "IPv6"} {
		if len(addrs) == 0 || slices.ContainsFunc(addrs, func(a netip.Addr) bool { return a.Is6() == (name == "IPv6") }) {
			out = append(out, name)
		}
	}
	return out
}
