// SPDX-License-Identifier: Apache-2.0

package announce_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"eastwest/internal/dataplane/announce"
	"eastwest/internal/kernel/neighbour"
	"eastwest/internal/kernel/netns"
	"eastwest/internal/kernel/netns/netnstest"
	"eastwest/internal/kernel/nft"
	"eastwest/internal/table"
)

var balancer4, balancer6 = netip.MustParseAddr("192.0.2.200"), netip.MustParseAddr("2001:db8::200")

// node is a machine on a network with a client, which says its name at port 80 of the balancer's addresses.
type node struct {
	t       *testing.T
	ns      string
	backend *announce.Backend
}

func run(t *testing.T, ns, command string) string {
	t.Helper()
	var out []byte
	err := netns.Do(ns, func() (err error) {
		out, err = exec.Command("sh", "-c", command).CombinedOutput()
		return err
	})
	if err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
	return string(out)
}

// newClient makes the network: a bridge, and the client at it.
func newClient(t *testing.T) string {
	t.Helper()
	netnstest.RequireProgram(t, "nft")
	netnstest.RequireProgram(t, "ping")
	ns := netnstest.New(t)
	run(t, ns, "sysctl -qw net.ipv6.conf.default.accept_dad=0; ip link add br0 type bridge; ip link set br0 up")
	run(t, ns, "ip addr add 192.0.2.1/24 dev br0; ip addr add 2001:db8::1/64 dev br0 nodad")
	return ns
}

func newNode(t *testing.T, client string, number int) *node {
	t.Helper()
	n := &node{t: t, ns: netnstest.New(t)}
	n.backend = announce.New(neighbour.New(n.ns), nft.New(n.ns))
	v4, v6 := fmt.Sprintf("192.0.2.1%d", number), fmt.Sprintf("2001:db8::1%d", number)
	run(t, n.ns, fmt.Sprintf("sysctl -qw net.ipv6.conf.default.accept_dad=0; ip link set lo up; ip link add eth0 type veth peer name port%d netns %s", number, client))
	run(t, n.ns, fmt.Sprintf("ip link set eth0 up; ip addr add %s/24 dev eth0; ip addr add %s/64 dev eth0 nodad", v4, v6))
	run(t, client, fmt.Sprintf("ip link set port%d master br0 up", number))
	run(t, n.ns, fmt.Sprintf(`nft -f - <<'END'
table inet services {
	chain prerouting {
		type nat hook prerouting priority dstnat
		ip daddr %s tcp dport 80 dnat ip to %s:8080
		ip6 daddr %s tcp dport 80 dnat ip6 to [%s]:8080
	}
}
END`, balancer4, v4, balancer6, v6))
	netnstest.In(t, n.ns, func() error { return serve(t, fmt.Sprint("node", number)) })
	return n
}

func serve(t *testing.T, name string) error {
	listener, err := net.Listen("tcp", "[::]:8080")
	if err != nil {
		return err
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(connection, name)
			connection.Close()
		}
	}()
	return nil
}

func (n *node) apply(addresses ...netip.Addr) {
	n.t.Helper()
	rows := map[string]table.Announcement{}
	if len(addresses) > 0 {
		rows["default/web"] = table.Announcement{Object: table.Object{Kind: "Service", Namespace: "default", Name: "web"}, Addrs: addresses}
	}
	if err := n.backend.Apply(n.t.Context(), table.Table[table.Announcement]{}.With(rows), table.Keys{All: true}); err != nil {
		n.t.Fatal(err)
	}
}

// ask returns who answers the client at an address and port.
func ask(t *testing.T, client string, address netip.Addr, port uint16) (string, error) {
	t.Helper()
	var answer []byte
	err := netns.Do(client, func() error {
		connection, err := net.DialTimeout("tcp", netip.AddrPortFrom(address, port).String(), 10*time.Second)
		if err != nil {
			return err
		}
		defer connection.Close()
		answer, err = io.ReadAll(connection)
		return err
	})
	return string(answer), err
}

// A node that announces an address gets the client's connections to it, at once also when another node had it before; a
// port that nobody serves there is refused. What another program takes away comes back, and in the end nothing is left.
func TestClientsFollowTheAnnouncer(t *testing.T) {
	client := newClient(t)
	one, two := newNode(t, client, 1), newNode(t, client, 2)
	both := []netip.Addr{balancer4, balancer6}
	expect := func(want string) {
		t.Helper()
		for _, address := range both {
			if have, err := ask(t, client, address, 80); err != nil || have != want {
				t.Errorf("%s is answered by %q, %v; want %s", address, have, err, want)
			}
			if _, err := ask(t, client, address, 81); !errors.Is(err, unix.ECONNREFUSED) {
				t.Errorf("a port of %s that nobody serves: %v, want it refused", address, err)
			}
		}
	}
	one.apply(both...)
	expect("node1")
	one.apply()
	two.apply(both...)
	expect("node2")
	run(t, two.ns, "ip neigh del proxy 192.0.2.200 dev eth0; ip -6 route del 2001:db8::200")
	run(t, client, "ip neigh flush dev br0")
	two.apply(both...)
	expect("node2")
	two.apply(balancer6)
	run(t, client, "ip neigh flush dev br0")
	if known := run(t, client, "ping -c 1 -W 1 192.0.2.200 >/dev/null; ip neigh show 192.0.2.200"); strings.Contains(known, "lladdr") {
		t.Errorf("somebody answers for an address that nobody announces: %s", known)
	}
	two.apply()
	two.apply()
	for _, n := range []*node{one, two} {
		left := run(t, n.ns, "ip neigh show proxy; ip -6 neigh show proxy; ip route show table all proto 203; ip -6 route show table all proto 203; nft list tables | grep announce || true")
		if dump, err := n.backend.Dump(t.Context()); left != "" || dump != "" || err != nil {
			t.Errorf("left behind: %q, %q, %v", left, dump, err)
		}
	}
}

// An address that none of the node's networks has is an error that names the Service, and keeps no other from being
// announced.
func TestAddressOfNoNetwork(t *testing.T) {
	client := newClient(t)
	n := newNode(t, client, 1)
	rows := table.Table[table.Announcement]{}.With(map[string]table.Announcement{
		"default/lost": {Object: table.Object{Kind: "Service", Namespace: "default", Name: "lost"}, Addrs: []netip.Addr{netip.MustParseAddr("203.0.113.5")}},
		"default/web":  {Object: table.Object{Kind: "Service", Namespace: "default", Name: "web"}, Addrs: []netip.Addr{balancer4}},
	})
	err := n.backend.Apply(t.Context(), rows, table.Keys{All: true})
	if err == nil || !strings.Contains(err.Error(), "Service default/lost") || !strings.Contains(err.Error(), "203.0.113.5") {
		t.Errorf("error %v, want one that names Service and address", err)
	}
	if have, err := ask(t, client, balancer4, 80); have != "node1" {
		t.Errorf("%s is answered by %q, %v", balancer4, have, err)
	}
}

// Where every node has the address, one of them answers for it. As with IPVS, a rule keeps the others from it.
func TestOneOfManyOwnersAnswers(t *testing.T) {
	client := newClient(t)
	nodes := []*node{newNode(t, client, 1), newNode(t, client, 2)}
	for _, n := range nodes {
		n.backend = announce.ForOwn(neighbour.New(n.ns), nft.New(n.ns))
		run(t, n.ns, "ip addr add 192.0.2.200/32 dev lo; ip addr add 2001:db8::200/128 dev lo nodad")
		run(t, n.ns, `nft -f - <<'END'
table arp services {
	chain input {
		type filter hook input priority filter; policy accept;
		meta mark & 0x00004000 == 0x00000000 arp operation request arp daddr ip 192.0.2.200 drop
	}
}
END`)
	}
	for _, turn := range []int{0, 1, 0} {
		nodes[1-turn].apply()
		nodes[turn].apply(balancer4, balancer6)
		for _, address := range []netip.Addr{balancer4, balancer6} {
			want := fmt.Sprint("node", turn+1)
			if have, err := ask(t, client, address, 80); err != nil || have != want {
				t.Errorf("%s is answered by %q, %v; want %s", address, have, err, want)
			}
		}
	}
	for _, n := range nodes {
		n.apply()
		if dump, err := n.backend.Dump(t.Context()); dump != "" || err != nil {
			t.Errorf("left behind: %q, %v", dump, err)
		}
	}
}
