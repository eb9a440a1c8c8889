// SPDX-License-Identifier: Apache-2.0

// Package serve answers HTTP, TCP and UDP clients with this host's name and the address that each client came from, and
// makes requests and look-ups of its own when an HTTP client asks for them.
//
// TCP: every line is answered with "hostname client-address line"; UDP: every datagram likewise. HTTP: see routes.
package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"
)

// Config says what to serve.
type Config struct {
	Address        string // to listen on; empty means every address of both families
	HTTP, TCP, UDP []uint // ports; 0 picks a free one
	Hostname       string // the name to answer with
	Drain          time.Duration
	Log            *slog.Logger
}

// Server holds open ports from New on; Run serves them.
type Server struct {
	config Config
	http   []net.Listener
	tcp    []net.Listener
	udp    []*net.UDPConn
	exit   chan int
}

// New opens every port. On an error none stays open.
func New(config Config) (*Server, error) {
	s := &Server{config: config, exit: make(chan int, 1)}
	err := errors.Join(s.openStreams(config.HTTP, &s.http), s.openStreams(config.TCP, &s.tcp), s.openDatagrams())
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// HTTPAddrs, TCPAddrs and UDPAddrs return the addresses that the server listens on, in the order of the configured ports.
func (s *Server) HTTPAddrs() []string { return addresses(s.http) }

// TCPAddrs is described at HTTPAddrs.
func (s *Server) TCPAddrs() []string { return addresses(s.tcp) }

// UDPAddrs is described at HTTPAddrs.
func (s *Server) UDPAddrs() []string {
	var out []string
	for _, conn := range s.udp {
		out = append(out, conn.LocalAddr().String())
	}
	return out
}

func addresses(listeners []net.Listener) []string {
	var out []string
	for _, l := range listeners {
		out = append(out, l.Addr().String())
	}
	return out
}

func (s *Server) openStreams(ports []uint, into *[]net.Listener) error {
	for _, port := range ports {
		l, err := net.Listen("tcp", s.address(port))
		if err != nil {
			return fmt.Errorf("open TCP port %d: %w", port, err)
		}
		*into = append(*into, l)
	}
	return nil
}

func (s *Server) openDatagrams() error {
	for _, port := range s.config.UDP {
		conn, err := listenUDP(s.address(port))
		if err != nil {
			return fmt.Errorf("open UDP port %d: %w", port, err)
		}
		s.udp = append(s.udp, conn)
	}
	return nil
}

func (s *Server) address(port uint) string {
	return net.JoinHostPort(s.config.Address, strconv.FormatUint(uint64(port), 10))
}

// Run serves until ctx ends or a client asks for the end; then it goes on for the drain time, closes the ports and lets
// HTTP requests under way finish for five seconds. It returns the exit code that a client asked for, or 0.
func (s *Server) Run(ctx context.Context) (int, error) {
	serving, stop := context.WithCancel(context.Background())
	defer stop()
	failed := make(chan error, len(s.http)+len(s.tcp)+len(s.udp))
	var running sync.WaitGroup
	shutdown := s.start(serving, &running, failed)
	s.config.Log.Info("serving", "hostname", s.config.Hostname, "http", s.HTTPAddrs(), "tcp", s.TCPAddrs(), "udp", s.UDPAddrs())

	code, err := 0, error(nil)
	select {
	case <-ctx.Done():
		s.drain()
	case code = <-s.exit:
	case err = <-failed:
	}
	grace, done := context.WithTimeout(context.Background(), 5*time.Second)
	defer done()
	err = errors.Join(err, shutdown(grace))
	stop()
	s.close()
	running.Wait()
	return code, err
}

func (s *Server) drain() {
	if s.config.Drain > 0 {
		s.config.Log.Info("draining", "for", s.config.Drain)
		time.Sleep(s.config.Drain)
	}
}

func (s *Server) close() {
	for _, l := range append(s.http, s.tcp...) {
		l.Close()
	}
	for _, conn := range s.udp {
		conn.Close()
	}
}

// ignoreClosed drops the error that a closed port gives.
func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
