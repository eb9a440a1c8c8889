// SPDX-License-Identifier: Apache-2.0

package forward

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"sync"
	"time"

	mdns "github.com/miekg/dns"
)

// Bounds of the connections that are kept for the next question.
const (
	maxIdle    = 8
	maxIdleAge = 8 * time.Second // servers close what is idle for 10 s or more
)

// secure asks a server over TLS. A connection is used for one question after the other: making one takes as long as
// several answers.
type secure struct {
	server Server
	config *tls.Config

	mu   sync.Mutex
	idle []idleConn // used last at the end
}

type idleConn struct {
	conn  *tls.Conn
	since time.Time
}

func newSecure(server Server, roots *x509.CertPool) *secure {
	name := server.Name
	if name == "" {
		name = server.Addr.Addr().WithZone("").String()
	}
	return &secure{server: server, config: &tls.Config{
		ServerName: name, RootCAs: roots, MinVersion: tls.VersionTLS12, NextProtos: []string{"dot"}, ClientSessionCache: tls.NewLRUClientSessionCache(4),
	}}
}

// ask sends a question and returns the response. A kept connection may have been closed meanwhile: then a new one is made.
func (s *secure) ask(ctx context.Context, q *mdns.Msg) (*mdns.Msg, error) {
	for {
		conn, kept, err := s.take(ctx)
		if err != nil {
			return nil, err
		}
		response, err := converse(ctx, conn, q)
		if err == nil {
			s.keep(conn)
			return response, nil
		}
		_ = conn.Close()
		if !kept || ctx.Err() != nil {
			return nil, err
		}
	}
}

func (s *secure) take(ctx context.Context) (conn *tls.Conn, kept bool, err error) {
	s.mu.Lock()
	for n := len(s.idle); n > 0; n = len(s.idle) {
		last := s.idle[n-1]
		s.idle = s.idle[:n-1]
		if time.Since(last.since) < maxIdleAge {
			s.mu.Unlock()
			return last.conn, true, nil
		}
		_ = last.conn.Close()
	}
	s.mu.Unlock()
	raw, err := new(net.Dialer).DialContext(ctx, "tcp", s.server.Addr.String())
	if err != nil {
		return nil, false, err
	}
	conn = tls.Client(raw, s.config)
	end, _ := ctx.Deadline()
	if err := raw.SetDeadline(end); err != nil {
		_ = raw.Close()
		return nil, false, err
	}
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, false, fmt.Errorf("agree on TLS: %w", err)
	}
	return conn, false, nil
}

func (s *secure) keep(conn *tls.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.idle) == maxIdle {
		_ = conn.Close()
		return
	}
	s.idle = append(s.idle, idleConn{conn, time.Now()})
}

// close closes what is kept.
func (s *secure) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.idle {
		_ = c.conn.Close()
	}
	s.idle = nil
}
