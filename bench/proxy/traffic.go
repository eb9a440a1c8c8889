// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// serveEcho answers every byte on port 8080 of the server pod.
func (l *lab) serveEcho() (func(), error) {
	var listener net.Listener
	err := inside(l.server, func() (err error) {
		listener, err = net.Listen("tcp", ":8080")
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
				buffer := make([]byte, 64)
				for {
					n, err := conn.Read(buffer)
					if err != nil {
						return
					}
					conn.Write(buffer[:n])
				}
			}()
		}
	}()
	return func() { listener.Close() }, nil
}

// connect opens a connection the cheap way; closing it sends a reset, so that no port is left waiting.
func connect(to [4]byte, port int) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	wait := unix.Timeval{Sec: 5}
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait)
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &wait)
	err = unix.Connect(fd, &unix.SockaddrInet4{Addr: to, Port: port})
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

// connections returns how many connections a second a client opens, one after the other.
func (l *lab) connections(to [4]byte, port int, length time.Duration) (rate float64, err error) {
	err = inside(l.client, func() error {
		count, begin := 0, time.Now()
		for time.Since(begin) < length {
			fd, err := connect(to, port)
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

// requests returns how many requests of one byte a second are answered on one connection.
func (l *lab) requests(to [4]byte, port int, length time.Duration) (rate float64, err error) {
	err = inside(l.client, func() error {
		fd, err := connect(to, port)
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
