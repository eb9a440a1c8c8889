// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"fmt"
	"net"
	"net/netip"
	"strings"

	"eastwest/internal/kernel/netns"
)

// Each of many endpoints is as likely as the others, and none is asked that is gone; a client that is remembered goes where it
// went.
func manyEndpoints(s *scene) {
	const first, all, most = 20000, 300, 40 // most is how often each may be asked
	stop := s.answerWithPort(s.lab.b, "10.244.1.2", first, all)
	defer stop()
	endpoints := func(from, to int) (list []string) {
		for port := from; port < to; port++ {
			list = append(list, fmt.Sprintf("10.244.1.2:%d", first+port))
		}
		return list
	}
	const n, left = 137, 60
	s.apply(row("nginx", "10.96.0.7", endpoints(0, n)...))
	counts := map[string]int{}
	asked := 0
	for ; len(counts) < n && asked < most*n; asked++ { // by chance, all have answered after some 6 n
		name, _, _ := strings.Cut(ask(s.lab.client, "tcp", vip), " ")
		counts[name]++
	}
	for _, endpoint := range endpoints(0, n) {
		name := strings.TrimPrefix(endpoint, "10.244.1.2:")
		if count := counts[name]; count == 0 || count > 5*asked/n+10 {
			s.t.Errorf("endpoint %s was asked %d times of %d", endpoint, count, asked)
		}
		delete(counts, name)
	}
	if len(counts) > 0 {
		s.t.Errorf("also %v answered", counts)
	}
	s.apply(row("nginx", "10.96.0.7", endpoints(0, left)...))
	counts = who(s.lab.client, "tcp", vip, 2*n)
	for port := range left {
		delete(counts, fmt.Sprint(first+port))
	}
	if len(counts) > 0 {
		s.t.Errorf("of those that are gone %v answered", counts)
	}
	sticky := row("nginx", "10.96.0.7", endpoints(0, all)...)
	for i := range sticky.Frontends {
		sticky.Frontends[i].AffinitySeconds = 600
	}
	s.apply(sticky)
	if counts := who(s.lab.client, "tcp", vip, 60); len(counts) != 1 {
		s.t.Errorf("with session affinity %v answered", counts)
	}
}

// answerWithPort answers connections to ports of a host with the port that was asked, until the function that it returns is
// called.
func (s *scene) answerWithPort(h host, addr string, first, count int) (stop func()) {
	s.t.Helper()
	var listeners []net.Listener
	err := netns.Do(h.netns, func() error {
		for port := first; port < first+count; port++ {
			listener, err := net.Listen("tcp", netip.AddrPortFrom(netip.MustParseAddr(addr), uint16(port)).String())
			if err != nil {
				return err
			}
			listeners = append(listeners, listener)
			go answerStreams(listener, fmt.Sprint(port))
		}
		return nil
	})
	stop = func() {
		for _, listener := range listeners {
			listener.Close()
		}
	}
	if err != nil {
		stop()
		s.t.Fatal(err)
	}
	return stop
}
