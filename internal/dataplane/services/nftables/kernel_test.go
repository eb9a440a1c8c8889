// SPDX-License-Identifier: Apache-2.0

package nftables_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"eastwest/internal/dataplane"
	"eastwest/internal/dataplane/conformance"
	"eastwest/internal/dataplane/nftrules"
	"eastwest/internal/dataplane/quarantine"
	"eastwest/internal/dataplane/services/nftables"
	"eastwest/internal/kernel/netns/netnstest"
	"eastwest/internal/kernel/nft"
	"eastwest/internal/kernel/nft/nfttest"
	"eastwest/internal/table"
)

func newBackend(t testing.TB, ns string, nodePorts ...netip.Prefix) (*nftables.Backend, *nfttest.Counting) {
	t.Helper()
	kernel := &nfttest.Counting{Conn: nft.New(ns)}
	backend, err := nftables.New(nftables.Config{
		Kernel: kernel, Log: slog.New(slog.DiscardHandler), Node: dataplane.Node{
			Local:             dataplane.Local{CIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("fd00:10::/48")}},
			ServiceCIDRs:      dataplane.NewRanges(netip.MustParsePrefix("10.96.0.0/12"), netip.MustParsePrefix("fd00:96::/108")),
			NodePortAddresses: nodePorts,
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return backend, kernel
}

func nginx(endpoints ...string) table.Service {
	s := table.Service{
		Object:    table.Object{Kind: "Service", Namespace: "default", Name: "nginx"},
		Addresses: []netip.Addr{netip.MustParseAddr("10.96.0.7")},
	}
	f := table.Frontend{
		Addr: s.Addresses[0], Protocol: table.TCP, Port: 30050, PortName: "http", Masquerade: table.FromOutside, Action: table.Reject,
	}
	for _, e := range endpoints {
		f.Action = table.Forward
		f.Endpoints = append(f.Endpoints, netip.MustParseAddrPort(e))
		s.Hairpin = append(s.Hairpin, f.Endpoints[len(f.Endpoints)-1].Addr())
	}
	n := f
	n.Kind, n.Addr, n.Port, n.Masquerade = table.NodePort, netip.IPv4Unspecified(), 31000, table.Always
	s.Frontends = []table.Frontend{f, n}
	return s
}

func tableOf(rows ...table.Service) table.Table[table.Service] {
	set := map[string]table.Service{}
	for _, row := range rows {
		set[row.Object.Namespace+"/"+row.Object.Name] = row
	}
	return table.Table[table.Service]{}.With(set)
}

// A second process that finds everything in place writes nothing.
func TestRestartRewritesNothing(t *testing.T) {
	ns := netnstest.New(t)
	want := tableOf(nginx("10.244.0.2:80", "10.244.1.2:80", "10.244.2.2:80"))
	for i, nodePorts := range [][]netip.Prefix{
		nil, nil, {netip.MustParsePrefix("172.18.0.0/16"), dataplane.Loopback}, {netip.MustParsePrefix("172.18.0.0/16"), dataplane.Loopback},
	} {
		backend, kernel := newBackend(t, ns, nodePorts...)
		if err := backend.Apply(t.Context(), want, table.Keys{All: true}); err != nil {
			t.Fatal(err)
		}
		if i%2 == 1 && kernel.Scripts+kernel.Changes != 0 {
			listing, _ := kernel.List(t.Context(), nft.IPv4, "eastwest")
			t.Errorf("the second start ran %d scripts and %d changes\n%s", kernel.Scripts, kernel.Changes, listing)
		}
	}
}

// A Service that grows and shrinks has all of its endpoints and no other after each step, whatever their number, and a second
// process finds the rules that were added for it in place.
func TestServiceOfAnySize(t *testing.T) {
	ns := netnstest.New(t)
	backend, _ := newBackend(t, ns)
	for i, n := range []int{3, 10000, 9999, 129, 20001, 0, 7} {
		row, _ := conformance.Numbered(1, n).Get("default/s0")
		if n == 0 {
			row.Frontends[0].Action = table.Reject
		}
		want := tableOf(row, nginx("10.244.0.2:80"))
		if err := backend.Apply(t.Context(), want, table.Keys{All: i == 0, Names: []string{"default/s0", "default/nginx"}}); err != nil {
			t.Fatal(err)
		}
		text, err := backend.Dump(t.Context())
		if found := strings.Count(text, " → ") - 2; err != nil || found != n { // nginx has two frontends
			t.Errorf("%v, the kernel has %d endpoints, want %d", err, found, n)
		}
		other, kernel := newBackend(t, ns)
		if err := other.Apply(t.Context(), want, table.Keys{All: true}); err != nil || kernel.Scripts+kernel.Changes != 0 {
			t.Errorf("%d endpoints, %v: a second start ran %d scripts and %d changes", n, err, kernel.Scripts, kernel.Changes)
		}
	}
}

// Rules that only some Services need come with the first of these, and a second process finds them in place.
func TestRulesComeWithTheirServices(t *testing.T) {
	ns := netnstest.New(t)
	backend, kernel := newBackend(t, ns)
	socket := func(addrs ...string) table.Service {
		row := nginx("10.244.0.2:80")
		f := row.Frontends[0]
		f.LocalSocket, row.Frontends = true, nil
		for _, addr := range addrs {
			f.Addr = netip.MustParseAddr(addr)
			if f.Addr.Is6() {
				f.Endpoints = []netip.AddrPort{netip.MustParseAddrPort("[fd00:10::2]:80")}
			}
			row.Frontends = append(row.Frontends, f)
		}
		return row
	}
	ranged := nginx("10.244.0.2:80")
	ranged.Frontends[0].SourceRanges = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	for i, step := range []struct {
		row  table.Service
		rule string // that is there from now on
	}{
		{nginx("10.244.0.2:80"), "type nat hook prerouting"},
		{socket("10.96.0.7"), "ip daddr 10.96.0.7 "}, {socket("10.96.0.10", "10.96.0.7", "fd00:96::7"), "ip daddr { 10.96.0.7, 10.96.0.10 } "},
		{ranged, "@source-ranged jump"}, {nginx("10.244.0.2:80"), "@source-ranged jump"},
	} {
		want := tableOf(step.row)
		if err := backend.Apply(t.Context(), want, table.Keys{All: i == 0, Names: []string{"default/nginx"}}); err != nil {
			t.Fatal(err)
		}
		listing, err := kernel.List(t.Context(), nft.IPv4, "eastwest")
		if i == 0 && (strings.Contains(listing, "priority raw") || strings.Contains(listing, "jump source-ranges")) || !strings.Contains(listing, step.rule) {
			t.Errorf("step %d, %v, want %q:\n%s", i, err, step.rule, listing)
		}
		other, counting := newBackend(t, ns)
		if err := other.Apply(t.Context(), want, table.Keys{All: true}); err != nil || counting.Scripts+counting.Changes != 0 {
			t.Errorf("step %d, %v: a second start ran %d scripts and %d changes", i, err, counting.Scripts, counting.Changes)
		}
	}
}

// One of many endpoints that goes leaves the others where they are, but for one that takes its place; a second process finds
// them there.
func TestOthersKeepTheirSlots(t *testing.T) {
	ns := netnstest.New(t)
	backend, kernel := newBackend(t, ns)
	all, _ := conformance.Numbered(1, 1000).Get("default/s0")
	if err := backend.Apply(t.Context(), tableOf(all), table.Keys{All: true}); err != nil {
		t.Fatal(err)
	}
	for _, endpoints := range [][]netip.AddrPort{all.Frontends[0].Endpoints[1:], all.Frontends[0].Endpoints[1:999], all.Frontends[0].Endpoints[:990]} {
		row := all
		row.Frontends = []table.Frontend{all.Frontends[0]}
		row.Frontends[0].Endpoints = endpoints
		kernel.Written = 0
		if err := backend.Apply(t.Context(), tableOf(row), table.Keys{Names: []string{"default/s0"}}); err != nil {
			t.Fatal(err)
		}
		if kernel.Written > 40 {
			t.Errorf("%d elements were written for a few endpoints", kernel.Written)
		}
		other, again := newBackend(t, ns)
		if err := other.Apply(t.Context(), tableOf(row), table.Keys{All: true}); err != nil || again.Scripts+again.Changes != 0 {
			t.Errorf("%v: a second start ran %d scripts and %d changes", err, again.Scripts, again.Changes)
		}
	}
}

// A client that is remembered follows its endpoint to the slot of one that went, in both families.
func TestClientsFollowTheirEndpoint(t *testing.T) {
	for family, endpoints := range map[nft.Family][]string{
		nft.IPv4: {"10.244.0.2:80", "10.244.0.3:80", "10.244.0.4:80"}, nft.IPv6: {"[fd00:10::2]:80", "[fd00:10::3]:80", "[fd00:10::4]:80"},
	} {
		build := func(endpoints []string) table.Service {
			row := nginx(endpoints...)
			row.Frontends = row.Frontends[:1]
			row.Frontends[0].AffinitySeconds = 600
			if family == nft.IPv6 {
				row.Addresses = []netip.Addr{netip.MustParseAddr("fd00:96::7")}
				row.Frontends[0].Addr = row.Addresses[0]
			}
			return row
		}
		backend, kernel := newBackend(t, netnstest.New(t))
		if err := backend.Apply(t.Context(), tableOf(build(endpoints)), table.Keys{All: true}); err != nil {
			t.Fatal(err)
		}
		client := remembered(family, build(endpoints).Frontends[0], 2)
		op := nft.Op{Family: family, Table: "eastwest", Set: "address-affinity", Add: []nft.Element{client}}
		if err := kernel.Conn.Change(t.Context(), []nft.Op{op}); err != nil {
			t.Fatal(err)
		}
		if err := backend.Apply(t.Context(), tableOf(build(endpoints[1:])), table.Keys{Names: []string{"default/nginx"}}); err != nil {
			t.Fatal(err)
		}
		list, err := kernel.Conn.Elements(t.Context(), family, "eastwest", "address-affinity")
		want := remembered(family, build(endpoints).Frontends[0], 0)
		if err != nil || len(list) != 1 || list[0].Key != want.Key || list[0].Data != want.Data {
			t.Errorf("%s, %v: the client is remembered as %+v, want %+v", family, err, list, want)
		}
	}
}

// remembered is the element of a client, the frontend's own address, whose endpoint is in a slot.
func remembered(family nft.Family, f table.Frontend, slot uint32) nft.Element {
	addr, number := string(f.Addr.AsSlice()), string(binary.NativeEndian.AppendUint32(nil, slot))
	e := nft.Element{Key: addr + string([]byte{byte(f.Protocol), 0, 0, 0, byte(f.Port >> 8), byte(f.Port), 0, 0}) + addr, Data: number}
	if family == nft.IPv6 {
		e.Key, e.Data = e.Key+number, ""
	}
	return e
}

// What a table of another version has beside ours goes, and nothing is written again at the next start.
func TestLeftoversOfAnotherVersion(t *testing.T) {
	ns := netnstest.New(t)
	old := "table ip eastwest {\n map old-slots { type classid : verdict; elements = { 0:1 : goto old-chain }; }\n" +
		" chain old-chain { ip daddr @old-set drop; }\n set old-set { type ipv4_addr; }\n}\n"
	for start := range 2 {
		backend, kernel := newBackend(t, ns)
		if start == 0 {
			if err := kernel.Run(t.Context(), old); err != nil {
				t.Fatal(err)
			}
		}
		kernel.Scripts = 0
		if err := backend.Apply(t.Context(), tableOf(nginx("10.244.0.2:80")), table.Keys{All: true}); err != nil {
			t.Fatal(err)
		}
		if listing, _ := kernel.List(t.Context(), nft.IPv4, "eastwest"); strings.Contains(listing, "old-") || start == 1 && kernel.Scripts > 0 {
			t.Errorf("start %d ran %d scripts, and the table is\n%s", start, kernel.Scripts, listing)
		}
	}
}

// What another program did to the constant part is mended, and nothing else is written.
func TestConstantsAreMended(t *testing.T) {
	ns := netnstest.New(t)
	want := tableOf(nginx("10.244.0.2:80", "10.244.0.3:80"))
	backend, kernel := newBackend(t, ns)
	state := func() string {
		text, err := backend.Dump(t.Context())
		listing, listErr := kernel.List(t.Context(), nft.IPv4, "eastwest")
		draws, drawErr := kernel.Conn.Elements(t.Context(), nft.IPv4, "eastwest", "address-draw")
		if err := errors.Join(err, listErr, drawErr); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(text, listing, len(draws))
	}
	if err := backend.Apply(t.Context(), want, table.Keys{All: true}); err != nil {
		t.Fatal(err)
	}
	before := state()
	for _, damage := range []string{
		"flush map ip eastwest address-draw", "flush chain ip eastwest services", "add rule ip eastwest services drop",
		"flush map ip eastwest service-ip", "flush table ip eastwest", "delete table ip eastwest",
	} {
		if err := nft.New(ns).Run(t.Context(), damage+"\n"); err != nil {
			t.Fatal(err)
		}
		kernel.Written = 0
		if err := backend.Apply(t.Context(), want, table.Keys{All: true}); err != nil {
			t.Fatal(err)
		}
		if after := state(); nftrules.Canonical(after) != nftrules.Canonical(before) {
			t.Errorf("%s: %s\nis now\n%s", damage, before, after)
		}
		if strings.Contains(damage, "chain") && kernel.Written > 0 {
			t.Errorf("%s: %d elements were written", damage, kernel.Written)
		}
	}
}

// A table that an incompatible version left is replaced.
func TestTableOfAnotherVersion(t *testing.T) {
	ns := netnstest.New(t)
	backend, kernel := newBackend(t, ns)
	old := "table ip eastwest {\n map service-ip { type ipv4_addr : ipv4_addr; }\n chain old { }\n}\n"
	if err := kernel.Run(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	if err := backend.Apply(t.Context(), tableOf(nginx("10.244.0.2:80")), table.Keys{All: true}); err != nil {
		t.Fatal(err)
	}
	if listing, _ := kernel.List(t.Context(), nft.IPv4, "eastwest"); strings.Contains(listing, "chain old") {
		t.Errorf("the old chain is still there:\n%s", listing)
	}
}

func TestRemoveLeavesNothing(t *testing.T) {
	ns := netnstest.New(t)
	backend, kernel := newBackend(t, ns)
	if err := backend.Remove(t.Context()); err != nil {
		t.Fatalf("remove with nothing there: %v", err)
	}
	if err := backend.Apply(t.Context(), tableOf(nginx("10.244.0.2:80")), table.Keys{All: true}); err != nil {
		t.Fatal(err)
	}
	if err := backend.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, family := range []nft.Family{nft.IPv4, nft.IPv6} {
		if listing, err := kernel.List(t.Context(), family, "eastwest"); err == nil {
			t.Errorf("left behind:\n%s", listing)
		}
	}
}

func TestConformance(t *testing.T) {
	conformance.Services(t, func(t *testing.T, path string, config dataplane.Node) dataplane.Dataplane[table.Service] {
		backend, err := nftables.New(nftables.Config{
			Kernel: nft.New(path), Log: slog.New(slog.DiscardHandler),
			Node: config,
		})
		if err != nil {
			t.Fatal(err)
		}
		return backend
	})
}

// Source ranges may change to any others, also to some that overlap them.
func TestSourceRangesChange(t *testing.T) {
	backend, _ := newBackend(t, netnstest.New(t))
	row := func(ranges ...string) table.Service {
		s := nginx("10.244.0.2:80")
		s.Frontends[0].SourceRanges = []netip.Prefix{}
		for _, text := range ranges {
			s.Frontends[0].SourceRanges = append(s.Frontends[0].SourceRanges, netip.MustParsePrefix(text))
		}
		return s
	}
	lists := [][]string{{}, {"192.0.0.0/16"}, {"192.0.2.0/24"}, {"0.0.0.0/0"}, {"192.0.2.0/25", "192.0.2.128/25"}, {"192.0.0.0/17", "192.0.128.0/17"}}
	for _, from := range lists {
		for _, to := range lists {
			for i, ranges := range [][]string{from, to} {
				if err := backend.Apply(t.Context(), tableOf(row(ranges...)), table.Keys{All: i == 0, Names: []string{"default/nginx"}}); err != nil {
					t.Fatalf("from %v to %v: %v", from, to, err)
				}
			}
			if err := backend.Remove(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// What the kernel refuses of one service, here a range of the other family, keeps that service out and no other, when it comes
// and when everything is written at start.
func TestRefusedByTheKernel(t *testing.T) {
	bad := nginx("10.244.0.3:80")
	bad.Object.Name, bad.Addresses = "bad", []netip.Addr{netip.MustParseAddr("10.96.0.8")}
	bad.Frontends = bad.Frontends[:1]
	bad.Frontends[0].Addr = bad.Addresses[0]
	bad.Frontends[0].SourceRanges = []netip.Prefix{netip.MustParsePrefix("fd00::/64")}
	good, ns := nginx("10.244.0.2:80"), netnstest.New(t)
	for _, first := range []table.Table[table.Service]{tableOf(good), tableOf(good, bad)} {
		inner, _ := newBackend(t, ns)
		var reported []string
		backend := quarantine.Around(inner, quarantine.Config{Prober: inner, Report: func(row table.Service, _ error) { reported = append(reported, row.Key()) }})
		changed := table.Keys{All: true}
		for _, want := range []table.Table[table.Service]{first, tableOf(good, bad)} {
			for try := 0; backend.Apply(t.Context(), want, changed) != nil; try++ {
				if try > 3 {
					t.Fatal("the good service is held up by the bad one")
				}
				changed.All = true
			}
			changed = table.Keys{Names: []string{"default/bad"}}
		}
		text, err := backend.Dump(t.Context())
		if err != nil || !strings.Contains(text, "default/nginx") || strings.Contains(text, "default/bad") {
			t.Errorf("%v, the kernel has:\n%s", err, text)
		}
		if len(reported) == 0 || reported[0] != "default/bad" {
			t.Errorf("reported: %v", reported)
		}
	}
}
