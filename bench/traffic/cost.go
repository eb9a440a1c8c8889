// SPDX-License-Identifier: Apache-2.0

package traffic

import (
	"fmt"
	"net/netip"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// Pair is a client and a server of one thread, which stays on one processor. All that the kernel does for a packet it then does
// in that thread's system calls, so that the thread's processor time is what the path costs, whatever else the machine does.
type Pair struct {
	from, at Namespace
	calls    chan func()
	listener int
	to       *unix.SockaddrInet4
}

// NewPair listens at a port of the namespace at.
func NewPair(from, at Namespace, port int) (*Pair, error) {
	p := &Pair{from: from, at: at, calls: make(chan func())}
	made := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		err := p.open(port)
		made <- err
		if err != nil {
			return
		}
		defer unix.Close(p.listener)
		for call := range p.calls {
			call()
		}
	}()
	return p, <-made
}

func (p *Pair) open(port int) error {
	var one unix.CPUSet
	one.Set(0)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return fmt.Errorf("stay on a processor: %w", err)
	}
	if err := enter(p.at); err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: port}); err != nil {
		return err
	}
	if err := unix.Listen(fd, 64); err != nil {
		return err
	}
	p.listener = fd
	return enter(p.from)
}

// Close ends the pair.
func (p *Pair) Close() { close(p.calls) }

// Connections opens so many connections and returns the processor time of all.
func (p *Pair) Connections(to netip.AddrPort, count int) (cost time.Duration, err error) {
	return p.timed(func() error {
		for range count {
			fd, err := connect(to)
			if err != nil {
				return err
			}
			server, _, err := unix.Accept4(p.listener, unix.SOCK_CLOEXEC)
			unix.Close(fd)
			if err != nil {
				return err
			}
			unix.Close(server)
		}
		return nil
	})
}

// Requests exchanges a byte each way on one connection so often and returns the processor time of all.
func (p *Pair) Requests(to netip.AddrPort, count int) (cost time.Duration, err error) {
	buffer := []byte{1}
	return p.connected(to, func(client, server int) error {
		for range count {
			for _, side := range [2][2]int{{client, server}, {server, client}} {
				if _, err := unix.Write(side[0], buffer); err != nil {
					return err
				}
				if _, err := unix.Read(side[1], buffer); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func (p *Pair) connected(to netip.AddrPort, fn func(client, server int) error) (cost time.Duration, err error) {
	done := make(chan error)
	p.calls <- func() {
		client, err := connect(to)
		if err != nil {
			done <- err
			return
		}
		defer unix.Close(client)
		server, _, err := unix.Accept4(p.listener, unix.SOCK_CLOEXEC)
		if err != nil {
			done <- err
			return
		}
		defer unix.Close(server)
		for _, fd := range []int{client, server} {
			unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		}
		cost, err = measure(func() error { return fn(client, server) })
		done <- err
	}
	return cost, <-done
}

func (p *Pair) timed(fn func() error) (cost time.Duration, err error) {
	done := make(chan error)
	p.calls <- func() {
		cost, err = measure(fn)
		done <- err
	}
	return cost, <-done
}

func measure(fn func() error) (time.Duration, error) {
	begin, err := threadTime()
	if err != nil {
		return 0, err
	}
	if err := fn(); err != nil {
		return 0, err
	}
	end, err := threadTime()
	return end - begin, err
}

func threadTime() (time.Duration, error) {
	var at unix.Timespec
	err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &at)
	return time.Duration(at.Nano()), err
}
