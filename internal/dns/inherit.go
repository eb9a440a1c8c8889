// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"cmp"
	"net"
	"net/netip"
	"os"
	"syscall"
)

// inherited are the sockets of a process that served before this one, by the address that they are bound to.
type inherited struct {
	udp map[netip.AddrPort][]*net.UDPConn
	tcp map[netip.AddrPort]*net.TCPListener
}

// inherit takes over what can be served from; all else is closed.
func inherit(files []*os.File) *inherited {
	h := &inherited{map[netip.AddrPort][]*net.UDPConn{}, map[netip.AddrPort]*net.TCPListener{}}
	for _, f := range files {
		if c, err := net.FilePacketConn(f); err == nil {
			if udp, ok := c.(*net.UDPConn); ok {
				at := whole(udp.LocalAddr().(*net.UDPAddr).AddrPort())
				h.udp[at] = append(h.udp[at], udp)
			} else {
				_ = c.Close()
			}
		} else if l, err := net.FileListener(f); err == nil {
			if tcp, ok := l.(*net.TCPListener); ok && h.tcp[unmapped(tcp.Addr())] == nil {
				h.tcp[unmapped(tcp.Addr())] = tcp
			} else {
				_ = l.Close()
			}
		}
		_ = f.Close()
	}
	return h
}

func whole(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

// take returns the sockets of an address; none is no error.
func (h *inherited) take(host, port string) *sockets {
	at, err := netip.ParseAddrPort(net.JoinHostPort(cmp.Or(host, "::"), port))
	if err != nil {
		return &sockets{}
	}
	at = whole(at)
	s := &sockets{udp: h.udp[at], tcp: h.tcp[at]}
	delete(h.udp, at)
	delete(h.tcp, at)
	return s
}

// close closes what nobody took.
func (h *inherited) close() {
	for _, conns := range h.udp {
		for _, c := range conns {
			_ = c.Close()
		}
	}
	for _, l := range h.tcp {
		_ = l.Close()
	}
}

// Sockets returns what the server listens on, for another process to have it as well.
func (s *Server) Sockets() []syscall.Conn {
	var all []syscall.Conn
	for _, opened := range s.sockets {
		for _, c := range opened.udp {
			all = append(all, c)
		}
		all = append(all, opened.tcp)
	}
	return all
}

// Keep says whether another process has the sockets as well: then what reaches them when this one ends waits for it.
func (s *Server) Keep(kept bool) { s.kept.Store(kept) }
