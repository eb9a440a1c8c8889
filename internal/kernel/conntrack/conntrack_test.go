// SPDX-License-Identifier: Apache-2.0

package conntrack_test

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"eastwest/internal/kernel/conntrack"
	"eastwest/internal/kernel/netns/netnstest"
)

// entry makes one of a client with this source port, to 10.96.0.7 or fd00:96::7, answered by an endpoint.
func entry(protocol uint8, sport uint16, to, endpoint string) (netlink.InetFamily, *netlink.ConntrackFlow) {
	vip, back := netip.MustParseAddrPort(to), netip.MustParseAddrPort(endpoint)
	client, family := net.IP{10, 244, 0, 9}, netlink.InetFamily(unix.AF_INET)
	if vip.Addr().Is6() {
		client, family = net.ParseIP("fd00:10::9"), unix.AF_INET6
	}
	flow := &netlink.ConntrackFlow{
		FamilyType: uint8(family), TimeOut: 1000,
		Forward: netlink.IPTuple{SrcIP: client, DstIP: vip.Addr().AsSlice(), SrcPort: sport, DstPort: vip.Port(), Protocol: protocol},
		Reverse: netlink.IPTuple{SrcIP: back.Addr().AsSlice(), DstIP: client, SrcPort: back.Port(), DstPort: sport, Protocol: protocol},
	}
	if protocol == unix.IPPROTO_TCP {
		flow.ProtoInfo = &netlink.ProtoInfoTCP{State: 3}
	}
	return family, flow
}

// Only the entries of the protocol that are stale go, in both families; a second look finds none.
func TestDelete(t *testing.T) {
	ns := netnstest.New(t)
	const gone, stays = "10.244.0.2:53", "10.244.0.3:53"
	netnstest.In(t, ns, func() error {
		for i, e := range []struct {
			protocol     uint8
			to, endpoint string
		}{
			{unix.IPPROTO_UDP, "10.96.0.7:53", gone}, {unix.IPPROTO_UDP, "10.96.0.7:53", stays}, {unix.IPPROTO_TCP, "10.96.0.7:53", gone},
			{unix.IPPROTO_UDP, "[fd00:96::7]:53", "[fd00:10::2]:53"}, {unix.IPPROTO_UDP, "192.0.2.1:53", "192.0.2.1:53"},
		} {
			if err := netlink.ConntrackCreate(netlink.ConntrackTable, first(entry(e.protocol, uint16(1000+i), e.to, e.endpoint)), second(entry(e.protocol, uint16(1000+i), e.to, e.endpoint))); err != nil {
				return err
			}
		}
		return nil
	})
	conn := conntrack.New(ns)
	for _, tt := range []struct {
		to, endpoint string
		want         int
	}{
		{"10.96.0.7:53", "", 2},
		{"10.96.0.7:54", "", 0},
		{"0.0.0.0:53", "", 3},
		{"[::]:53", "", 1},
		{"[fd00:96::7]:53", "", 1},
		{"[fd00:96::8]:53", "", 0},
		{"", gone, 1},
		{"", "10.244.0.2:54", 0},
		{"", "0.0.0.0:53", 3},
		{"", "[fd00:10::2]:53", 1},
		{"", "[fd00:10::3]:53", 0},
		{"10.96.0.7:53", gone, 1},
		{"10.96.0.8:53", gone, 0},
		{"0.0.0.0:53", stays, 1},
		{"[fd00:96::7]:53", "[fd00:10::2]:53", 1},
	} {
		looked := 0
		if _, err := conn.Delete(t.Context(), conntrack.Selection{Protocol: unix.IPPROTO_UDP, Routes: routes(tt.to, tt.endpoint), Stale: func(conntrack.Entry) bool {
			looked++
			return false
		}}); err != nil || looked != tt.want {
			t.Errorf("looked at %d entries to %q answered by %q: %v; want %d", looked, tt.to, tt.endpoint, err, tt.want)
		}
	}
	translated := 0
	if _, err := conn.Delete(t.Context(), conntrack.Selection{Protocol: unix.IPPROTO_UDP, Translated: true, Stale: func(e conntrack.Entry) bool {
		if translated++; e.To == e.Endpoint {
			t.Errorf("looked at %v, which is not translated", e)
		}
		return false
	}}); err != nil {
		t.Error(err)
	}
	var seen []conntrack.Entry
	stale := func(e conntrack.Entry) bool {
		seen = append(seen, e)
		return e.Endpoint == netip.MustParseAddrPort(gone) || e.To.Addr().Is6()
	}
	n, err := conn.Delete(t.Context(), conntrack.Selection{Protocol: unix.IPPROTO_UDP, Stale: stale})
	if err != nil || n != 2 || len(seen) != 4 {
		t.Errorf("removed %d of %v: %v; want 2 of 4", n, seen, err)
	}
	if n, err = conn.Delete(t.Context(), conntrack.Selection{Protocol: unix.IPPROTO_UDP, Stale: stale}); err != nil || n != 0 {
		t.Errorf("the second time removed %d: %v", n, err)
	}
	netnstest.In(t, ns, func() error {
		left, err := netlink.ConntrackTableList(netlink.ConntrackTable, unix.AF_INET)
		if len(left) != 3 {
			t.Errorf("%d entries are left, want 3: %v", len(left), left)
		}
		return err
	})
}

// routes is one route; what is empty is left out.
func routes(to, endpoint string) []conntrack.Entry {
	var e conntrack.Entry
	if to != "" {
		e.To = netip.MustParseAddrPort(to)
	}
	if endpoint != "" {
		e.Endpoint = netip.MustParseAddrPort(endpoint)
	}
	return []conntrack.Entry{e}
}

// track has the kernel of a namespace track this many connections.
func track(t testing.TB, ns string, count int, connection func(i int) (netlink.InetFamily, *netlink.ConntrackFlow)) {
	t.Helper()
	netnstest.In(t, ns, func() error {
		handle, err := netlink.NewHandle(unix.NETLINK_NETFILTER)
		if err != nil {
			return err
		}
		defer handle.Close()
		for i := range count {
			family, flow := connection(i)
			if err := handle.ConntrackCreate(netlink.ConntrackTable, family, flow); err != nil {
				return err
			}
		}
		return nil
	})
}

// Where there are very many entries, those of a route go and no others, in both families.
func TestDeleteAmongMany(t *testing.T) {
	const gone, stays, gone6, stays6 = "10.244.0.2:53", "10.244.0.3:53", "[fd00:10::2]:53", "[fd00:10::3]:53"
	if number(t, "/proc/sys/net/netfilter/nf_conntrack_max") < 100_000 {
		netnstest.RequireOwnMachine(t)
		if err := conntrack.New("").Raise(100_000); err != nil {
			t.Fatal(err)
		}
	}
	ns := netnstest.New(t)
	ways := []struct{ to, endpoint string }{
		{"10.96.0.7:53", gone}, {"10.96.0.7:53", stays}, {"10.96.0.8:53", gone}, {"[fd00:96::7]:53", gone6}, {"[fd00:96::7]:53", stays6},
	}
	track(t, ns, 60_000, func(i int) (netlink.InetFamily, *netlink.ConntrackFlow) {
		way := ways[i%len(ways)]
		return entry(unix.IPPROTO_UDP, uint16(i), way.to, way.endpoint)
	})
	conn := conntrack.New(ns)
	for _, way := range []struct{ to, endpoint string }{{"10.96.0.7:53", gone}, {"[fd00:96::7]:53", gone6}} {
		for _, want := range []int{12_000, 0} {
			n, err := conn.Delete(t.Context(), conntrack.Selection{Protocol: unix.IPPROTO_UDP, Routes: routes(way.to, way.endpoint), Stale: func(e conntrack.Entry) bool {
				return e.Endpoint == netip.MustParseAddrPort(way.endpoint)
			}})
			if err != nil || n != want {
				t.Errorf("removed %d entries of %s: %v; want %d", n, way.to, err, want)
			}
		}
	}
	left := map[string]int{}
	netnstest.In(t, ns, func() error {
		for _, family := range []netlink.InetFamily{unix.AF_INET, unix.AF_INET6} {
			list, err := netlink.ConntrackTableList(netlink.ConntrackTable, family)
			if err != nil {
				return err
			}
			for _, flow := range list {
				left[flow.Forward.DstIP.String()+" "+flow.Reverse.SrcIP.String()]++
			}
		}
		return nil
	})
	want := map[string]int{"10.96.0.7 10.244.0.3": 12_000, "10.96.0.8 10.244.0.2": 12_000, "fd00:96::7 fd00:10::3": 12_000}
	if diff := cmp.Diff(want, left); diff != "" {
		t.Errorf("entries left (-want +have):\n%s", diff)
	}
}

func first(family netlink.InetFamily, _ *netlink.ConntrackFlow) netlink.InetFamily { return family }

func second(_ netlink.InetFamily, flow *netlink.ConntrackFlow) *netlink.ConntrackFlow { return flow }

// Looks for stale entries among very many of TCP and of UDP, and removes half of them; EASTWEST_CONNTRACK says how many, and the
// kernel's nf_conntrack_max has to allow them. Tells how much more memory the process had meanwhile.
func BenchmarkDelete(b *testing.B) {
	count, _ := strconv.Atoi(os.Getenv("EASTWEST_CONNTRACK"))
	count = max(count, 1000)
	ns := netnstest.New(b)
	track(b, ns, count, func(i int) (netlink.InetFamily, *netlink.ConntrackFlow) {
		protocol := uint8(unix.IPPROTO_TCP)
		if i%2 == 0 {
			protocol = unix.IPPROTO_UDP
		}
		family, flow := entry(protocol, uint16(i), "10.96.0.7:53", "10.244.0.3:53")
		flow.Forward.SrcIP = net.IP{10, 0, byte(i >> 24), byte(i >> 16)}
		flow.Reverse.DstIP = flow.Forward.SrcIP
		return family, flow
	})
	conn := conntrack.New(ns)
	for name, where := range map[string][]conntrack.Entry{"one-frontend": routes("10.96.0.8:53", ""), "one-endpoint": routes("", "10.244.0.4:53"), "all": nil} {
		b.Run(name, func(b *testing.B) {
			runtime.GC()
			before := resident(b, "VmRSS")
			if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0o600); err != nil { // the highest is forgotten
				b.Fatal(err)
			}
			for b.Loop() {
				if _, err := conn.Delete(b.Context(), conntrack.Selection{Protocol: unix.IPPROTO_UDP, Routes: where, Stale: func(conntrack.Entry) bool { return false }}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(resident(b, "VmHWM")-before, "MB-more")
		})
	}
	for name, which := range map[string]conntrack.Selection{
		"half-removed-by-the-kernel": {Protocol: unix.IPPROTO_UDP, Routes: routes("10.96.0.7:53", "10.244.0.3:53")},
		"half-removed-one-by-one":    {Protocol: unix.IPPROTO_TCP, Routes: routes("", "10.244.0.3:53")},
	} {
		which.Stale = func(conntrack.Entry) bool { return true }
		removeOnce(b, name, conn, which)
	}
}

func removeOnce(b *testing.B, name string, conn *conntrack.Conn, which conntrack.Selection) {
	var before, after unix.Rusage
	err := unix.Getrusage(unix.RUSAGE_SELF, &before)
	begin := time.Now()
	removed, failed := conn.Delete(b.Context(), which)
	took := time.Since(begin)
	if err = errors.Join(err, failed, unix.Getrusage(unix.RUSAGE_SELF, &after)); err != nil {
		b.Fatal(err)
	}
	b.Run(name, func(b *testing.B) {
		b.ReportMetric(float64(removed), "removed")
		b.ReportMetric(took.Seconds(), "s")
		b.ReportMetric(float64(after.Utime.Nano()-before.Utime.Nano()+after.Stime.Nano()-before.Stime.Nano())/1e9, "cpu-s")
	})
}

// resident returns a size of this process in MB.
func resident(b *testing.B, which string) float64 {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), which+":")
	kib, err := strconv.Atoi(strings.Fields(after)[0])
	if err != nil {
		b.Fatal(err)
	}
	return float64(kib) / 1000
}
