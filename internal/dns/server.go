// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"eastwest/internal/dns/cache"
	"eastwest/internal/dns/forward"
	"eastwest/internal/dns/wire"
)

// ServerConfig says what a Server serves, and where. The zero value of a field means its default.
type ServerConfig struct {
	Zone       *Zone            // cluster names; nil for a plain forwarder
	Feed       Feed             // what keeps the zone; only metrics ask it. May be nil
	Listen     []string         // address:port, each over UDP and TCP; required. The node need not have the address yet
	ListenTLS  []string         // address:port, each over TLS; needs Certificate
	Upstreams  []forward.Server // servers for all other names; where there are none, those of ResolvConf
	ResolvConf string           // path of a resolv.conf whose servers are asked; read again when it changes
	Inherited  []*os.File       // sockets of another process; those of Listen are used, the others closed
	// SecureAt is where a configuration has DNS served over TLS unless it says where itself; default the addresses of Listen.
	SecureAt []netip.Addr

	// NamespaceOf returns the namespace of the pod that has an address, or nothing: its look-ups through the search path
	// of its resolv.conf are then answered at once. It is called for every name that does not exist. May be nil.
	NamespaceOf func(netip.Addr) string

	// Certificate is what is shown over TLS; see CertificateFiles.
	Certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)

	Allow    []netip.Prefix // clients that are answered; others are refused. nil for all; this machine always is
	Cache    int            // entries of the cache for other names; default 10,000
	StaleFor time.Duration  // how long an expired entry may help out while no upstream answers; default 1 h, negative for not at all
	Workers  int            // UDP sockets an address, each read by a goroutine of its own; default one a processor
	Log      *slog.Logger   // default: nothing is logged
}

// Feed is what keeps a zone equal to the cluster.
type Feed interface {
	Confirmed() time.Time // when the zone was last known to be right; zero before it was
	Mended() uint64       // changes that it was not told and found out all the same
}

// Bounds of what a server does at once.
const (
	maxUDP       = 1232 // what passes everywhere without fragments
	maxTCP       = 1<<16 - 1
	maxSlow      = 2048 // queries that wait for upstreams
	maxSlowOne   = 256  // of one client
	maxConns     = 1024 // TCP
	maxConnsOne  = 128  // of one client
	queryTimeout = 5 * time.Second
)

// Server answers queries over UDP and TCP.
type Server struct {
	cfg        ServerConfig
	sockets    []*sockets
	secure     []net.Listener  // for TLS
	configured secureListeners // and those of the configuration
	forward    *forward.Forwarder
	rules      atomic.Pointer[rules] // nil until Configure
	cache      *cache.Cache
	paths      *cache.Cache // answers from outside to look-ups through a search path
	flights    flights
	slow       *quota
	conns      *quota
	kept       atomic.Bool    // the sockets, for another process
	jobs       sync.WaitGroup // what waits for upstreams
	workers    workers        // for them

	counters []*counters // the first is shared by connections and by all that waits; then one for each UDP socket

	asking context.Context // of questions that go upstream: they outlive whoever asked, but not the server
	stop   context.CancelFunc
}

// NewServer opens the sockets. Run serves them and closes them in the end; without Run, call Close.
func NewServer(cfg ServerConfig) (*Server, error) {
	if len(cfg.Listen) == 0 {
		return nil, errors.New("start dns server: no address to listen on")
	}
	if cfg.Workers <= 0 {
		cfg.Workers = runtime.GOMAXPROCS(0)
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		cfg:   cfg,
		cache: cache.New(cache.Config{Entries: cfg.Cache, StaleFor: cfg.StaleFor}),
		paths: cache.New(cache.Config{Entries: cfg.Cache, StaleFor: -1}),
		slow:  newQuota(maxSlow, maxSlowOne),
		conns: newQuota(maxConns, maxConnsOne),

		flights: flights{all: map[string][]func(fetched){}},
		workers: newWorkers(),

		counters: []*counters{new(counters)},
	}
	s.asking, s.stop = context.WithCancel(context.Background())
	before := inherit(cfg.Inherited)
	defer before.close()
	for _, address := range cfg.Listen {
		opened, err := listen(context.Background(), address, cfg.Workers, before)
		if err != nil {
			s.Close()
			return nil, err
		}
		s.sockets = append(s.sockets, opened)
		for range opened.udp {
			s.counters = append(s.counters, new(counters))
		}
	}
	if err := s.listenTLS(); err != nil {
		s.Close()
		return nil, err
	}
	s.forward = forward.New(forward.Config{
		Upstreams: cfg.Upstreams, ResolvConf: cfg.ResolvConf, Self: s.Addrs, Log: cfg.Log,
	})
	return s, nil
}

// Addrs returns the addresses that the server listens on, in the order of the configuration.
func (s *Server) Addrs() []netip.AddrPort {
	var addrs []netip.AddrPort
	for _, opened := range s.sockets {
		addrs = append(addrs, unmapped(opened.tcp.Addr()))
	}
	return addrs
}

func unmapped(of net.Addr) netip.AddrPort {
	a := of.(*net.TCPAddr).AddrPort()
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// Ready reports whether the server can answer for the names of the cluster; without a zone it always can.
func (s *Server) Ready() bool { return s.cfg.Zone == nil || s.cfg.Zone.Ready() }

// Close closes the sockets. Run does it by itself.
func (s *Server) Close() {
	s.stop()
	for _, opened := range s.sockets {
		opened.close()
	}
	for _, l := range s.secure {
		_ = l.Close()
	}
	s.configured.end()
}

// allowed reports whether a client is answered.
func (s *Server) allowed(client netip.Addr) bool {
	if s.cfg.Allow == nil || client.IsLoopback() {
		return true
	}
	for _, p := range s.cfg.Allow {
		if p.Contains(client) {
			return true
		}
	}
	return false
}

// flags are the header bits of an answer of our own zone, or of somebody else's.
func flags(own bool) uint16 {
	if own {
		return wire.FlagAA | wire.FlagRA
	}
	return wire.FlagRA
}
