// SPDX-License-Identifier: Apache-2.0

package forward

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"
	"unsafe"

	mdns "github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

// Bounds of the lines that wait for a question.
const (
	maxFree    = 16
	maxPortAge = 2 * time.Second // a port that is open for longer could be searched for
	maxMessage = 8192            // far longer than we ask for
)

// lines are what one server is asked through over UDP.
type lines struct {
	server netip.AddrPort

	mu   sync.Mutex
	keep bool // lines that wait
	free []*line
}

// line is a socket for one question after the other, each from a random port of its own. A goroutine reads what comes and
// hands it on, so that an answer wakes nobody but whom it is for. System calls on it wait for nothing; they are made
// without a word to the scheduler, which would wake a thread to watch over each.
type line struct {
	of   *lines
	conn *net.UDPConn
	raw  syscall.RawConn

	server    unix.RawSockaddrInet6 // or Inet4
	serverLen uint32

	mu    sync.Mutex
	asked *asked    // nil while the line is free
	since time.Time // its port is open

	buf   [maxMessage]byte
	n     int
	errno syscall.Errno
}

// take returns a line that nobody else uses.
func (ls *lines) take() (*line, error) {
	ls.mu.Lock()
	if n := len(ls.free); n > 0 {
		l := ls.free[n-1]
		ls.free = ls.free[:n-1]
		ls.mu.Unlock()
		return l, nil
	}
	ls.mu.Unlock()
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(ls.server))
	if err != nil {
		return nil, fmt.Errorf("open a socket: %w", err)
	}
	l := &line{of: ls, conn: conn, since: time.Now(), serverLen: unix.SizeofSockaddrInet6}
	if l.raw, err = conn.SyscallConn(); err == nil {
		err = l.raw.Control(func(fd uintptr) {
			_, _, l.errno = unix.RawSyscall(unix.SYS_GETPEERNAME, fd, uintptr(unsafe.Pointer(&l.server)), uintptr(unsafe.Pointer(&l.serverLen)))
		})
	}
	if err == nil && l.errno != 0 {
		err = l.errno
	}
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("open a socket: %w", err)
	}
	go l.read()
	return l, nil
}

// put takes a line back. Where none are kept it is closed.
func (ls *lines) put(l *line) {
	ls.mu.Lock()
	kept := ls.keep && len(ls.free) < maxFree
	if kept {
		ls.free = append(ls.free, l)
	}
	ls.mu.Unlock()
	if !kept {
		_ = l.conn.Close()
	}
}

// start keeps lines for further questions, until stop.
func (ls *lines) start() {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.keep = true
}

// stop closes lines that are free; the others are closed when they are.
func (ls *lines) stop() {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.keep = false
	for _, l := range ls.free {
		_ = l.conn.Close()
	}
	ls.free = nil
}

// ask sends a question; what comes of it goes to a.end.
func (l *line) ask(a *asked) error {
	message, err := a.q.Pack()
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if a.began.Sub(l.since) > maxPortAge {
		if err := l.renew(); err != nil {
			return err
		}
	}
	var errno syscall.Errno
	for range 2 { // the first call may say what became of an earlier question
		err := l.raw.Control(func(fd uintptr) {
			_, _, errno = unix.RawSyscall6(unix.SYS_SENDTO, fd, uintptr(unsafe.Pointer(&message[0])), uintptr(len(message)), unix.MSG_DONTWAIT, 0, 0)
		})
		if err != nil {
			return err
		}
		if errno == 0 {
			l.asked = a
			return nil
		}
	}
	return errno
}

// renew chooses another port: a socket that is connected to nobody has none, and gets one when it is connected again.
func (l *line) renew() error {
	l.since = time.Now()
	var errno syscall.Errno
	err := l.raw.Control(func(fd uintptr) {
		var nobody unix.RawSockaddr // AF_UNSPEC
		_, _, errno = unix.RawSyscall(unix.SYS_CONNECT, fd, uintptr(unsafe.Pointer(&nobody)), unsafe.Sizeof(nobody))
		if errno == 0 {
			_, _, errno = unix.RawSyscall(unix.SYS_CONNECT, fd, uintptr(unsafe.Pointer(&l.server)), uintptr(l.serverLen))
		}
	})
	if err == nil && errno != 0 {
		return errno
	}
	return err
}

// read hands on what comes, until the line is closed.
func (l *line) read() {
	receive := func(fd uintptr) bool {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&l.buf[0])), maxMessage, unix.MSG_DONTWAIT, 0, 0)
		l.n, l.errno = int(n), errno
		return errno != unix.EAGAIN
	}
	for l.raw.Read(receive) == nil {
		l.received()
	}
}

// received takes what came for the response if it fits the question. All else is ignored: anybody can send it. What comes
// while nothing was asked answers nothing, and whoever sent it knows the port: then the port is changed.
func (l *line) received() {
	if l.errno == unix.EINTR {
		return
	}
	l.mu.Lock()
	a := l.asked
	if a == nil {
		if l.errno == 0 {
			_ = l.renew() // else the next question does
		}
		l.mu.Unlock()
		return
	}
	l.mu.Unlock()
	if l.errno != 0 {
		l.finish(a, nil, fmt.Errorf("receive: %w", l.errno))
		return
	}
	if m := new(mdns.Msg); m.Unpack(l.buf[:l.n]) == nil && answers(a.q, m) {
		l.finish(a, m, nil)
	}
}

// finish ends a question unless it has ended, and gives the line to the next one, which gets another port.
func (l *line) finish(a *asked, m *mdns.Msg, err error) {
	l.mu.Lock()
	mine := l.asked == a
	if mine {
		l.asked = nil
	}
	l.mu.Unlock()
	if !mine {
		return
	}
	a.received(m, err) // whoever waits comes first
	l.mu.Lock()
	err = l.renew()
	l.mu.Unlock()
	if err != nil {
		_ = l.conn.Close()
		return
	}
	l.of.put(l)
}

// expire ends a question whose time is over.
func (l *line) expire(a *asked) { l.finish(a, nil, context.DeadlineExceeded) }
