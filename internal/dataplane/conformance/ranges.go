// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"net/netip"

	"eastwest/internal/table"
)

// rangesChange adds a range of services and takes it away while Services and connections go on: as long as it is there, addresses of it
// that no Service has are refused.
func rangesChange(s *scene) {
	netDefault(s)
	const served = "10.244.1.2:81"
	stop := s.echo(s.lab.b, served)
	defer stop()
	nginx := row("nginx", "10.96.0.7", b) // over UDP
	nginx.Frontends[0] = frontend(table.ClusterIP, nginx.Addresses[0], table.TCP, 8080, served)
	s.apply(nginx)
	stream, datagrams := s.hold(s.lab.client, "tcp", vip), s.hold(s.lab.client, "udp", vip)
	goOn := func(when string) {
		s.t.Helper()
		stream.echoes(when)
		datagrams.hears(when, "b 10.244.0.9")
	}
	change := func(ranges []netip.Prefix) {
		s.t.Helper()
		s.ranges.Set(ranges)
		s.started = false
		s.apply(nginx, row("far", "203.0.113.7", c))
		s.expect(s.lab.client, "tcp", "203.0.113.7:8080", "c 10.244.0.9")
	}
	before := s.ranges.List()
	for _, more := range []string{"203.0.113.0/24", "203.0.112.0/23"} {
		change(append(prefixes(more, "203.0.113.8/30", "2001:db8:7::/112"), before...))
		goOn("with " + more)
		for _, from := range []host{s.lab.client, s.lab.node} {
			for _, to := range []string{"203.0.113.10:8080", "203.0.113.200:80", "[2001:db8:7::9]:80", "10.96.0.99:8080"} {
				s.expect(from, "tcp", to, "refused")
			}
			s.expect(from, "udp", "203.0.113.200:80", "refused") // no more: the kernel answers few datagrams a second so
		}
	}
	change(before)
	goOn("as before")
	if _, err := dial(s.lab.client, "tcp", "203.0.113.200:80", silence); outcome(err) == "refused" {
		s.t.Error("an address outside all ranges is refused")
	}
	s.expect(s.lab.client, "tcp", "10.96.0.99:8080", "refused")
}
