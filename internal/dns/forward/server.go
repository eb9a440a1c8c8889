// SPDX-License-Identifier: Apache-2.0

package forward

import (
	"fmt"
	"net/netip"
	"strings"
)

// Server is a server to ask: over UDP, and over TCP what does not fit, or over TLS (RFC 7858).
type Server struct {
	Addr netip.AddrPort
	TLS  bool
	Name string // in the server's certificate; empty for its address
}

// ParseServer reads ADDRESS, ADDRESS:PORT or tls://ADDRESS[:PORT][#NAME]. The port is 53, and 853 over TLS.
func ParseServer(text string) (s Server, err error) {
	rest, port := strings.TrimPrefix(text, "dns://"), uint16(53)
	if after, ok := strings.CutPrefix(text, "tls://"); ok {
		s.TLS, port = true, 853
		rest, s.Name, _ = strings.Cut(after, "#")
	}
	if addr, err := netip.ParseAddr(rest); err == nil {
		s.Addr = netip.AddrPortFrom(addr, port)
		return s, nil
	}
	if s.Addr, err = netip.ParseAddrPort(rest); err != nil {
		return s, fmt.Errorf("%q is no address of a server: write ADDRESS, ADDRESS:PORT or tls://ADDRESS#NAME", text)
	}
	return s, nil
}

// Plain returns servers without TLS.
func Plain(addrs ...netip.AddrPort) []Server {
	servers := make([]Server, 0, len(addrs))
	for _, a := range addrs {
		servers = append(servers, Server{Addr: a})
	}
	return servers
}

// String returns what ParseServer reads, the port always with it.
func (s Server) String() string {
	switch {
	case !s.TLS:
		return s.Addr.String()
	case s.Name == "":
		return "tls://" + s.Addr.String()
	}
	return "tls://" + s.Addr.String() + "#" + s.Name
}

// MarshalText returns String.
func (s Server) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText is ParseServer.
func (s *Server) UnmarshalText(text []byte) (err error) {
	*s, err = ParseServer(string(text))
	return err
}
