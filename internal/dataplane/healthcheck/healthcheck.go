// SPDX-License-Identifier: Apache-2.0

// Package healthcheck answers load balancers that ask a Service's healthCheckNodePort whether this node has endpoints of
// it. Answers have the form that kube-proxy gives them.
package healthcheck

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"eastwest/internal/dataplane"
	"eastwest/internal/table"
)

// Config is what a Backend needs.
type Config struct {
	// Listen opens a TCP socket at a port of every address that serves node ports.
	Listen  func(port uint16) ([]net.Listener, error)
	Healthy func() bool                        // whether the proxy itself keeps up
	Failed  func(row table.Service, err error) // of a port that cannot be opened, once; may be nil
	Log     *slog.Logger
}

// Backend is the dataplane of health check ports. Apply, Remove and Dump are not safe for concurrent use.
type Backend struct {
	config  Config
	servers map[string]*server // by namespace/name
	failed  map[string]uint16  // ports that could not be opened
}

var _ dataplane.Dataplane[table.Service] = (*Backend)(nil)

// New makes a backend; it listens nowhere before the first Apply.
func New(config Config) *Backend {
	return &Backend{config: config, servers: map[string]*server{}, failed: map[string]uint16{}}
}

// server answers for one Service.
type server struct {
	port  uint16
	http  *http.Server
	where []net.Listener

	mu  sync.Mutex
	row table.Service
}

// state is what load balancers are told.
type state struct {
	Service struct {
		Namespace string `json:"namespace"`
		Name      string `json:"name"`
	} `json:"service"`
	LocalEndpoints      int  `json:"localEndpoints"`
	ServiceProxyHealthy bool `json:"serviceProxyHealthy"`
}

// Apply opens and closes ports and renews the counts. One port that cannot be opened does not keep others from it.
func (b *Backend) Apply(_ context.Context, want table.Table[table.Service], changed table.Keys) error {
	names := changed.Names
	if changed.All {
		names = append(want.Keys(), slices.Collect(maps.Keys(b.servers))...)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	for _, name := range names { // ports are given back first: another Service may take them
		if row, _ := want.Get(name); b.servers[name] != nil && b.servers[name].port != row.HealthCheck {
			b.stop(name)
		}
	}
	var errs []error
	for _, name := range names {
		if row, _ := want.Get(name); row.HealthCheck != 0 {
			errs = append(errs, b.serve(name, row))
		}
	}
	return errors.Join(errs...)
}

func (b *Backend) serve(name string, row table.Service) error {
	s := b.servers[name]
	if s == nil {
		listeners, err := b.config.Listen(row.HealthCheck)
		if err != nil {
			if b.config.Failed != nil && b.failed[name] != row.HealthCheck {
				b.config.Failed(row, err)
			}
			b.failed[name] = row.HealthCheck
			return fmt.Errorf("open healthCheckNodePort %d of Service %s: %w", row.HealthCheck, name, err)
		}
		s = &server{port: row.HealthCheck, where: listeners}
		s.http = &http.Server{Handler: b.handler(s), ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 16 << 10}
		for _, listener := range listeners {
			go func() {
				if err := s.http.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
					b.config.Log.Error("serve healthCheckNodePort", "port", row.HealthCheck, "service", name, "err", err)
				}
			}()
		}
		b.servers[name] = s
		delete(b.failed, name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.row = row
	return nil
}

// stateAt returns what somebody is told who asks at an address of this node.
func (s *server) stateAt(at net.Addr) (now state) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now.Service.Namespace, now.Service.Name = s.row.Object.Namespace, s.row.Object.Name
	now.LocalEndpoints = endpointsFor(s.row, at)
	return now
}

// endpointsFor counts the endpoints of the family that a load balancer asks by, or of the only one that the Service has.
func endpointsFor(row table.Service, at net.Addr) int {
	six, four := slices.ContainsFunc(row.Addresses, netip.Addr.Is6), slices.ContainsFunc(row.Addresses, netip.Addr.Is4)
	if tcp, ok := at.(*net.TCPAddr); ok && six && (!four || tcp.IP.To4() == nil) {
		return row.LocalEndpoints.IPv6
	}
	return row.LocalEndpoints.IPv4
}

func (b *Backend) handler(s *server) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		at, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		now := s.stateAt(at)
		now.ServiceProxyHealthy = b.config.Healthy()
		header := w.Header()
		header.Set("Content-Type", "application/json")
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("X-Load-Balancing-Endpoint-Weight", strconv.Itoa(now.LocalEndpoints))
		code := http.StatusOK
		if now.LocalEndpoints == 0 || !now.ServiceProxyHealthy {
			code = http.StatusServiceUnavailable
		}
		text, err := json.MarshalIndent(now, "", "\t")
		if err != nil {
			b.config.Log.Error("write the state of a health check port", "err", err)
			code = http.StatusInternalServerError
		}
		w.WriteHeader(code)
		_, _ = w.Write(text)
	})
}

func (b *Backend) stop(name string) {
	s := b.servers[name]
	delete(b.servers, name)
	s.http.Close()
	for _, listener := range s.where { // one that was not served yet is unknown to the server
		listener.Close()
	}
}

// Remove closes every port.
func (b *Backend) Remove(context.Context) error {
	for _, name := range slices.Collect(maps.Keys(b.servers)) {
		b.stop(name)
	}
	return nil
}

// Dump returns the ports that are open, one a line: Service, port and local endpoints of IPv4 and IPv6.
func (b *Backend) Dump(context.Context) (string, error) {
	var out strings.Builder
	for _, name := range slices.Sorted(maps.Keys(b.servers)) {
		s := b.servers[name]
		s.mu.Lock()
		fmt.Fprintf(&out, "%s :%d %d %d\n", name, s.port, s.row.LocalEndpoints.IPv4, s.row.LocalEndpoints.IPv6)
		s.mu.Unlock()
	}
	return out.String(), nil
}
