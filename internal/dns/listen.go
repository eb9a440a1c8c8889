// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"eastwest/internal/kernel/socketowner"
)

// sockets are what one address to listen on is made of.
type sockets struct {
	udp []*net.UDPConn // on one address: the kernel spreads clients over them
	tcp *net.TCPListener
}

func (s *sockets) close() {
	for _, c := range s.udp {
		_ = c.Close()
	}
	if s.tcp != nil {
		_ = s.tcp.Close()
	}
}

// hostPort splits an address to listen on.
func hostPort(address string) (host, port string, err error) {
	if host, port, err = net.SplitHostPort(address); err != nil {
		return "", "", fmt.Errorf("listen for dns: %w", err)
	}
	if host != "" {
		if _, err := netip.ParseAddr(host); err != nil {
			return "", "", fmt.Errorf("listen for dns on %s: give an address, not a name: %w", address, err)
		}
	}
	return host, port, nil
}

// listenTCP opens an address over TCP alone.
func listenTCP(ctx context.Context, address string) (net.Listener, error) {
	host, port, err := hostPort(address)
	if err != nil {
		return nil, err
	}
	lc := net.ListenConfig{Control: socketOptions}
	l, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, taken(address, host, port, err)
	}
	return l, nil
}

// listen opens an address (host:port) over UDP, in so many sockets, and over TCP. With port 0 both get the same port.
// Sockets of the address that another process had before are used first.
func listen(ctx context.Context, address string, workers int, before *inherited) (*sockets, error) {
	host, port, err := hostPort(address)
	if err != nil {
		return nil, err
	}
	for try := 0; ; try++ {
		s, err := listenOnce(ctx, host, port, workers, before)
		if err == nil {
			return s, nil
		}
		s.close()
		// The free port that UDP got may be taken in TCP: then another one is.
		if port != "0" || try == 10 || !errors.Is(err, syscall.EADDRINUSE) {
			return nil, taken(address, host, port, err)
		}
	}
}

// taken says which processes have the address, where it is somebody else's.
func taken(address, host, port string, err error) error {
	at, parseErr := netip.ParseAddrPort(net.JoinHostPort(cmp.Or(host, "::"), port))
	if !errors.Is(err, syscall.EADDRINUSE) || parseErr != nil {
		return fmt.Errorf("listen for dns on %s: %w", address, err)
	}
	for _, network := range []string{"udp", "tcp"} {
		for _, owner := range socketowner.Of(network, at) {
			return fmt.Errorf("listen for dns on %s: %s has it over %s: end that, or choose another address with --listen: %w", address, owner, network, err)
		}
	}
	return fmt.Errorf("listen for dns on %s: a process of another user has it: %w", address, err)
}

func listenOnce(ctx context.Context, host, port string, workers int, before *inherited) (*sockets, error) {
	s := before.take(host, port)
	lc := net.ListenConfig{Control: socketOptions}
	for len(s.udp) < workers {
		c, err := lc.ListenPacket(ctx, "udp", net.JoinHostPort(host, port))
		if err != nil {
			return s, err
		}
		conn := c.(*net.UDPConn)
		s.udp = append(s.udp, conn)
		port = strconv.Itoa(conn.LocalAddr().(*net.UDPAddr).Port)
	}
	if s.tcp != nil {
		return s, nil
	}
	l, err := lc.Listen(ctx, "tcp", net.JoinHostPort(host, port))
	if err != nil {
		return s, err
	}
	s.tcp = l.(*net.TCPListener)
	return s, nil
}

// socketOptions lets several sockets share the address (also with the process that takes over from this one), lets it be
// one that the node does not have yet, and asks for the address that a packet was sent to where we listen on all.
func socketOptions(network, address string, raw syscall.RawConn) error {
	var errs []error
	set := func(fd, level, option int) { errs = append(errs, unix.SetsockoptInt(fd, level, option, 1)) }
	err := raw.Control(func(fd uintptr) {
		set(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT)
		if strings.HasPrefix(network, "udp") {
			enlarge(int(fd))
		}
		wildcard := unspecified(address)
		if network == "udp4" || network == "tcp4" {
			set(int(fd), unix.IPPROTO_IP, unix.IP_FREEBIND)
			if wildcard && network == "udp4" {
				set(int(fd), unix.IPPROTO_IP, unix.IP_PKTINFO)
			}
			return
		}
		set(int(fd), unix.IPPROTO_IPV6, unix.IPV6_FREEBIND)
		if wildcard && network == "udp6" {
			set(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO)
		}
	})
	return errors.Join(append(errs, err)...)
}

// receiveBuffer is how many bytes of datagrams wait in a socket: a burst, or a flood, of some thousand.
const receiveBuffer = 4 << 20

// enlarge asks for a large receive buffer: beyond the system's limit where that is allowed, else up to it.
func enlarge(fd int) {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer)
	}
}

func unspecified(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil || host == "" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsUnspecified()
}
