// SPDX-License-Identifier: Apache-2.0

package forward

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Bounds of the sockets that are opened ahead.
const (
	maxFresh    = 16
	maxFreshAge = 2 * time.Second // a port that is open for longer could be searched for
	maxSpent    = 64
)

// sockets are what one server is asked with over UDP. Each is used for one question, so that every question has a random
// port of its own; opening and closing it is done while nobody waits for an answer.
type sockets struct {
	server netip.AddrPort

	mu    sync.Mutex
	ahead bool     // sockets are opened ahead
	fresh []opened // the oldest first
	spent []*net.UDPConn
	used  int // since Tidy
}

type opened struct {
	conn *net.UDPConn
	raw  syscall.RawConn
	at   time.Time
}

// take returns a socket that nothing has come to yet.
func (s *sockets) take() (*net.UDPConn, error) {
	s.mu.Lock()
	s.used++
	for n := len(s.fresh); n > 0; n = len(s.fresh) {
		last := s.fresh[n-1]
		s.fresh = s.fresh[:n-1]
		if time.Since(last.at) < maxFreshAge && last.untouched() {
			s.mu.Unlock()
			return last.conn, nil
		}
		_ = last.conn.Close()
	}
	s.mu.Unlock()
	o, err := s.open()
	return o.conn, err
}

func (s *sockets) open() (opened, error) {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(s.server))
	if err != nil {
		return opened{}, fmt.Errorf("open a socket: %w", err)
	}
	raw, err := conn.SyscallConn()
	return opened{conn, raw, time.Now()}, err
}

// untouched reports whether nothing waits in a socket. What is there before the question was sent answers nothing: somebody
// tries out ids.
func (o opened) untouched() bool {
	var err error
	controlErr := o.raw.Control(func(fd uintptr) {
		var one [1]byte
		_, _, err = unix.Recvfrom(int(fd), one[:], unix.MSG_DONTWAIT|unix.MSG_PEEK)
	})
	return controlErr == nil && err == unix.EAGAIN
}

// done takes a socket back, to be closed.
func (s *sockets) done(conn *net.UDPConn) {
	s.mu.Lock()
	if s.ahead && len(s.spent) < maxSpent {
		s.spent = append(s.spent, conn)
		conn = nil
	}
	s.mu.Unlock()
	if conn != nil {
		_ = conn.Close()
	}
}

// tidy closes what was used and what is too old, and opens as many as were used for what is asked next.
func (s *sockets) tidy() {
	s.mu.Lock()
	spent, want := s.spent, min(s.used, maxFresh-len(s.fresh))
	s.spent, s.used = nil, 0
	for len(s.fresh) > 0 && time.Since(s.fresh[0].at) >= maxFreshAge {
		spent = append(spent, s.fresh[0].conn)
		s.fresh = s.fresh[1:]
	}
	if !s.ahead {
		want = 0
	}
	s.mu.Unlock()
	for _, conn := range spent {
		_ = conn.Close()
	}
	for range want {
		o, err := s.open()
		if err != nil {
			return // the next question says so
		}
		s.keep(o)
	}
}

func (s *sockets) keep(o opened) {
	s.mu.Lock()
	if s.ahead && len(s.fresh) < maxFresh {
		s.fresh = append(s.fresh, o)
		o.conn = nil
	}
	s.mu.Unlock()
	if o.conn != nil {
		_ = o.conn.Close()
	}
}

// openAhead begins to keep sockets, until close.
func (s *sockets) openAhead() {
	s.mu.Lock()
	s.ahead = true
	s.mu.Unlock()
}

// close closes what is kept, and keeps nothing any more.
func (s *sockets) close() {
	s.mu.Lock()
	s.ahead = false
	for _, o := range s.fresh {
		s.spent = append(s.spent, o.conn)
	}
	s.fresh = nil
	s.mu.Unlock()
	s.tidy()
}
