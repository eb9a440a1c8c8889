// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"eastwest/internal/kernel/socketowner"
)

// Times of ending. Another process may have taken the addresses over: questions that reached this one are answered still.
const (
	drainTime  = 2 * time.Second       // for what waits for upstreams
	settleTime = 10 * time.Millisecond // for datagrams that were on their way into a socket
)

// Run serves until ctx is done. Whatever was asked until then is answered, and what waits for upstreams gets some time. An
// error means that a socket broke.
func (s *Server) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var serving sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	start := func(what string, f func() error) {
		serving.Go(func() {
			if err := f(); err != nil && ctx.Err() == nil {
				mu.Lock()
				errs = append(errs, fmt.Errorf("serve dns on %s: %w", what, err))
				mu.Unlock()
			}
			cancel()
		})
	}
	own := s.counters[1:]
	for _, opened := range s.sockets {
		for i, conn := range opened.udp {
			count := own[i]
			start("udp "+conn.LocalAddr().String(), func() error { return s.serveUDP(ctx, conn, count) })
		}
		own = own[len(opened.udp):]
		start("tcp "+opened.tcp.Addr().String(), func() error { return s.serveTCP(ctx, opened.tcp) })
	}
	for _, l := range s.secure {
		start("tls "+l.Addr().String(), func() error { return s.serveTLS(ctx, l, s.cfg.Certificate) })
	}
	start("upstreams", func() error { return s.forward.Run(ctx) })
	<-ctx.Done()
	s.drain(&serving)
	if rules := s.rules.Swap(nil); rules != nil {
		rules.end()
	}
	return errors.Join(errs...)
}

// drain takes no more questions, answers those that are there, and closes everything.
func (s *Server) drain(serving *sync.WaitGroup) {
	for _, opened := range s.sockets {
		for _, conn := range opened.udp {
			if !s.kept.Load() {
				turnAway(conn)
			}
			_ = conn.SetReadDeadline(time.Unix(1, 0))
		}
		_ = opened.tcp.Close()
	}
	for _, l := range s.secure {
		_ = l.Close()
	}
	s.configured.end()
	done := make(chan struct{})
	go func() {
		defer close(done)
		serving.Wait()
		s.configured.running.Wait()
		s.workers.end()
		s.jobs.Wait()
	}()
	select {
	case <-done:
	case <-time.After(drainTime):
	}
	s.Close()
	<-done
}

// turnAway has the kernel choose other sockets of the address for new datagrams, those of a process that takes over. A socket that is connected gets datagrams from its peer alone; nothing comes from the discard port.
// Where the address is none of this machine's it cannot be connected: then it goes on until it is closed.
func turnAway(conn *net.UDPConn) {
	if raw, err := conn.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) {
			const discard = 9
			var peer unix.Sockaddr = &unix.SockaddrInet4{Port: discard, Addr: [4]byte{127, 0, 0, 1}}
			if conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Is6() {
				peer = &unix.SockaddrInet6{Port: discard, Addr: [16]byte{15: 1}}
			}
			_ = unix.Connect(int(fd), peer)
		})
	}
}

// AwaitTurn returns when a server of the zone may begin to listen: at once, unless another process serves at one of the
// addresses; then when the zone can answer as well as that one can.
func AwaitTurn(ctx context.Context, zone *Zone, addresses []string, other func(address string, owners []socketowner.Owner)) {
	for _, address := range addresses {
		at, err := netip.ParseAddrPort(address)
		if err != nil || at.Port() == 0 || !socketowner.Held("udp", at) {
			continue
		}
		other(address, socketowner.Of("udp", at))
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for zone != nil && !zone.Ready() && socketowner.Held("udp", at) {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}
}
