// SPDX-License-Identifier: Apache-2.0

package vxlan_test

import (
	"flag"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"eastwest/internal/dataplane/routes/vxlan"
	"eastwest/internal/kernel/netns"
	"eastwest/internal/kernel/nft/nfttest"
	"eastwest/internal/table"
)

// After any history of peers, and of what others do to the device meanwhile, the kernel holds what one Apply of the last
// table writes into an empty one.
func TestHistoriesEndWhereOneApplyEnds(t *testing.T) {
	if checks := flag.Lookup("rapid.checks"); checks.Value.String() == checks.DefValue {
		if err := checks.Value.Set("30"); err != nil { // each is some hundred questions to the kernel
			t.Fatal(err)
		}
		defer func() { _ = checks.Value.Set(checks.DefValue) }()
	}
	fresh, used := lone(t), lone(t)
	rapid.Check(t, func(r *rapid.T) {
		var last table.Table[table.Tunnel]
		for range rapid.IntRange(1, 6).Draw(r, "steps") {
			last = tunnels(r)
			if err := used.backend.Apply(t.Context(), last, table.Keys{All: true}); err != nil {
				r.Fatal(err)
			}
			vandalize(used.ns, rapid.SampledFrom(damages).Draw(r, "damage"))
		}
		if err := used.backend.Apply(t.Context(), last, table.Keys{All: true}); err != nil {
			r.Fatal(err)
		}
		if err := fresh.backend.Remove(t.Context()); err != nil {
			r.Fatal(err)
		}
		if err := fresh.backend.Apply(t.Context(), last, table.Keys{All: true}); err != nil {
			r.Fatal(err)
		}
		if got, want := used.dump(), fresh.dump(); got != want {
			r.Fatalf("after the history:\n%s\none Apply:\n%s", got, want)
		}
	})
}

// lone is a host with two addresses and nobody to talk to.
func lone(t *testing.T) *host {
	h := newHost(t, 1, netip.MustParseAddr("192.0.2.1"))
	h.backend = vxlan.New(h.conn, &nfttest.Fake{}) // the rules are written whole: their history is short
	h.run("ip link add eth0 type veth peer name other")
	h.run("ip link set eth0 up")
	h.run("ip addr add 192.0.2.1/24 dev eth0")
	h.run("ip -6 addr add 2001:db8::1/64 dev eth0 nodad")
	return h
}

// tunnels draws this node's own end, sometimes none, and some of five peers.
func tunnels(r *rapid.T) table.Table[table.Tunnel] {
	set := map[string]table.Tunnel{}
	v6 := rapid.Bool().Draw(r, "IPv6")
	for n := range 6 {
		if !rapid.Bool().Draw(r, fmt.Sprintf("node %d", n)) {
			continue
		}
		at := rapid.IntRange(2, 4).Draw(r, "at")
		row := table.Tunnel{Object: table.Object{Kind: "Node", Name: fmt.Sprint("node", n)}, Self: n == 0, MAC: table.MAC{2, 0, 0, 0, 1, byte(n)}}
		if row.Self {
			at = 1
		}
		row.Address = netip.MustParseAddr(fmt.Sprintf("192.0.2.%d", at))
		if v6 {
			row.Address = netip.MustParseAddr(fmt.Sprintf("2001:db8::%d", at))
		}
		for _, text := range []string{"10.244.%d.0/24", "fd00:10:244:%d::/64"} {
			if rapid.Bool().Draw(r, "pods") {
				row.Pods = append(row.Pods, netip.MustParsePrefix(fmt.Sprintf(text, n)))
			}
		}
		set[row.Object.Name] = row
	}
	return table.Table[table.Tunnel]{}.With(set)
}

var damages = []string{
	"", "", "", "ip link del eastwest-vxlan", "ip link set eastwest-vxlan down", "ip addr flush dev eastwest-vxlan", "ip route flush proto 202",
	"ip -6 route flush proto 202", "bridge fdb append 02:00:00:00:01:01 dev eastwest-vxlan dst 192.0.2.77",
	"ip neigh flush nud permanent dev eastwest-vxlan", "ip route add 10.99.0.0/16 via 10.244.1.0 dev eastwest-vxlan onlink proto 202",
}

// vandalize runs a command that fails where there is nothing to damage.
func vandalize(ns, command string) {
	if fields := strings.Fields(command); len(fields) > 0 {
		_ = netns.Do(ns, exec.Command(fields[0], fields[1:]...).Run)
	}
}
