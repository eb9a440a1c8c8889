// SPDX-License-Identifier: Apache-2.0

// Package traffic measures a path through the kernel between two network namespaces: connections and requests a second,
// and bytes a second of one connection. It speaks to the kernel directly, so that the path and not the client is measured.
package traffic

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// Namespace is the path of a network namespace.
type Namespace string

// Do runs fn in the namespace, on a thread that is thrown away.
func (n Namespace) Do(fn func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		err := enter(n)
		if err == nil {
			err = fn()
		}
		done <- err
	}()
	return <-done
}

// enter moves the thread into a namespace.
func enter(n Namespace) error {
	f, err := os.Open(string(n))
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Setns(int(f.Fd()), unix.CLONE_NEWNET)
}

// Serve hands every connection to a port of the namespace to handle, until stop.
func Serve(at Namespace, port int, handle func(net.Conn)) (stop func(), err error) {
	var listener net.Listener
	err = at.Do(func() (err error) {
		listener, err = net.Listen("tcp4", ":"+strconv.Itoa(port))
		return err
	})
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				handle(conn)
			}()
		}
	}()
	return func() { listener.Close() }, nil
}

// Echo answers every byte.
func Echo(conn net.Conn) {
	buffer := make([]byte, 64)
	for {
		n, err := conn.Read(buffer)
		if err != nil {
			return
		}
		conn.Write(buffer[:n])
	}
}

// connect opens a connection the cheap way; closing it sends a reset, so that no port is left waiting.
func connect(to netip.AddrPort) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	wait := unix.Timeval{Sec: 5}
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait)
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &wait)
	err = unix.Connect(fd, &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())})
	if errors.Is(err, unix.EINTR) { // the runtime's signals; the connection goes on
		err = settled(fd)
	}
	if err != nil {
		unix.Close(fd)
		return 0, err
	}
	return fd, nil
}

// settled waits until a connection is there.
func settled(fd int) error {
	for {
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, 5000)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
		if err == nil && code != 0 {
			err = unix.Errno(code)
		}
		return err
	}
}

// Connections returns how many connections a second a client opens, one after the other.
func Connections(from Namespace, to netip.AddrPort, length time.Duration) (rate float64, err error) {
	err = from.Do(func() error {
		count, begin := 0, time.Now()
		for time.Since(begin) < length {
			fd, err := connect(to)
			if err != nil {
				return err
			}
			unix.Close(fd)
			count++
		}
		rate = float64(count) / time.Since(begin).Seconds()
		return nil
	})
	return rate, err
}

// Requests returns how many requests of one byte a second are answered on one connection, whose server is Echo.
func Requests(from Namespace, to netip.AddrPort, length time.Duration) (rate float64, err error) {
	err = from.Do(func() error {
		fd, err := connect(to)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		count, begin, buffer := 0, time.Now(), []byte{1}
		for time.Since(begin) < length {
			if _, err := unix.Write(fd, buffer); err != nil {
				return err
			}
			n, err := unix.Read(fd, buffer)
			for errors.Is(err, unix.EINTR) {
				n, err = unix.Read(fd, buffer)
			}
			if err != nil || n == 0 {
				return errors.Join(err, errors.New("read an answer"))
			}
			count++
		}
		rate = float64(count) / time.Since(begin).Seconds()
		return nil
	})
	return rate, err
}
