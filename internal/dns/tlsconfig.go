// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"

	"eastwest/internal/dns/config"
)

// portTLS is where clients expect DNS over TLS (RFC 7858).
const portTLS = 853

// secureListeners are what the configuration has served over TLS: they come and go with it.
type secureListeners struct {
	mu      sync.Mutex
	ended   bool
	files   [2]string // certificate and key of those that are open
	open    map[string]secureListener
	running sync.WaitGroup
}

type secureListener struct {
	net.Listener
	stop context.CancelFunc // of its connections
}

func (l secureListener) end() {
	l.stop()
	_ = l.Close()
}

// configureTLS listens where a configuration says so, and no longer where it does not. What cannot be opened is logged: the
// rest of the configuration is in force all the same. nil is for no TLS.
func (s *Server) configureTLS(c *config.TLS) {
	var want []string
	var files [2]string
	if c != nil {
		want, files = c.Listen, [2]string{c.Certificate, c.Key}
		if len(want) == 0 {
			want = s.secureAddresses()
		}
	}
	now := &s.configured
	now.mu.Lock()
	defer now.mu.Unlock()
	if now.ended {
		return
	}
	for address, l := range now.open {
		if files != now.files || !slices.Contains(want, address) {
			l.end()
			delete(now.open, address)
		}
	}
	if len(want) == 0 {
		return
	}
	if files != now.files || now.open == nil {
		now.files, now.open = files, map[string]secureListener{}
	}
	certificate := &certificateFiles{certificate: files[0], key: files[1]}
	if err := certificate.load(); err != nil {
		s.cfg.Log.Error("no dns over TLS until the certificate can be read", "err", err)
	}
	for _, address := range want {
		if _, ok := now.open[address]; !ok {
			s.openTLS(address, certificate)
		}
	}
}

// openTLS serves one address more; the caller holds the lock.
func (s *Server) openTLS(address string, certificate *certificateFiles) {
	l, err := listenTCP(s.asking, address)
	if err != nil {
		s.cfg.Log.Error("no dns over TLS", "address", address, "err", err)
		return
	}
	ctx, stop := context.WithCancel(s.asking)
	s.configured.open[address] = secureListener{l, stop}
	s.configured.running.Go(func() {
		if err := s.serveTLS(ctx, l, certificate.get); err != nil && ctx.Err() == nil {
			s.cfg.Log.Error("dns over TLS ended", "address", address, "err", err)
		}
	})
}

// secureAddresses are where DNS is served over TLS unless the configuration says where.
func (s *Server) secureAddresses() (out []string) {
	at := s.cfg.SecureAt
	if at == nil {
		for _, a := range s.Addrs() {
			at = append(at, a.Addr())
		}
	}
	for _, a := range at {
		if address := netip.AddrPortFrom(a, portTLS).String(); !slices.Contains(out, address) {
			out = append(out, address)
		}
	}
	return out
}

// end closes all, for good. Questions that were asked are answered still.
func (n *secureListeners) end() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ended = true
	for _, l := range n.open {
		l.end()
	}
}

func (n *secureListeners) addrs() (out []netip.AddrPort) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range n.open {
		out = append(out, unmapped(l.Addr()))
	}
	return out
}
