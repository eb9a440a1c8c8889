// SPDX-License-Identifier: Apache-2.0

package program_test

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containernetworking/cni/libcni"

	"eastwest/internal/cni/cnitest"
	"eastwest/internal/cni/restore"
	"eastwest/internal/cni/sweep"
	"eastwest/internal/kernel/netns"
)

func guardedBridge(t *testing.T) string {
	conf := strings.Replace(bridged, `"isGateway"`, `"ipspoofchk": true, "isGateway"`, 1)
	return fmt.Sprintf(conf, filepath.Join(t.TempDir(), "leases"))
}

func TestForeignSourcesDoNotLeaveTheVeth(t *testing.T) {
	for name, c := range map[string]struct {
		conf     string
		loose    bool // reverse path filter of the node
		v4, v6   string
		received bool
	}{
		"ptp":                    {conf: dualStack(t, "1.1.0"), v4: "10.244.1.", v6: "fd00:10:244:1::"},
		"ptp on a loose node":    {conf: dualStack(t, "1.1.0"), loose: true, v4: "10.244.1.", v6: "fd00:10:244:1::"},
		"bridge":                 {conf: guardedBridge(t), v4: "10.88.0.", v6: "fd00:88::"},
		"bridge without the key": {conf: strings.Replace(guardedBridge(t), `"ipspoofchk": true, `, "", 1), v4: "10.88.0.", v6: "fd00:88::", received: true},
	} {
		t.Run(name, func(t *testing.T) {
			node := cnitest.NewNode(t)
			if c.loose {
				node.Run("sysctl", "-qw", "net.ipv4.conf.all.rp_filter=2")
			}
			list := cnitest.List(t, c.conf)
			a, b := cnitest.Pod(t, "a"), cnitest.Pod(t, "b")
			node.Add(list, a)
			node.Add(list, b)
			cnitest.RunIn(t, a.NetNS, "ip", "addr", "add", "203.0.113.5/32", "dev", "eth0")
			cnitest.RunIn(t, a.NetNS, "ip", "addr", "add", "2001:db8::5/128", "dev", "eth0", "nodad")
			atB, atNode := receive(t, b.NetNS, 9000), receive(t, node.NS, 9000)
			for _, p := range []struct {
				own, foreign, to string
				at               <-chan string
			}{
				{c.v4 + "2", "203.0.113.5", c.v4 + "3", atB},
				{c.v6 + "2", "2001:db8::5", c.v6 + "3", atB},
				{c.v4 + "2", "203.0.113.5", c.v4 + "1", atNode},
				{c.v6 + "2", "2001:db8::5", c.v6 + "1", atNode},
			} {
				if c.received && p.at == atNode {
					continue // the node has filters of its own
				}
				send(t, a.NetNS, p.own, p.to, "first")
				send(t, a.NetNS, p.foreign, p.to, "foreign")
				send(t, a.NetNS, p.own, p.to, "last")
				want := []string{"first", "last"}
				if c.received {
					want = []string{"first", "foreign", "last"}
				}
				if got := collect(t, p.at, len(want)); !slices.Equal(got, want) {
					t.Errorf("%s received %q from %s and %s, want %q", p.to, got, p.own, p.foreign, want)
				}
			}
			if err := node.Check(list, a); err != nil {
				t.Errorf("CHECK: %v", err)
			}
			if err := node.Del(list, a); err != nil {
				t.Errorf("DEL: %v", err)
			}
			if err := node.GC(list); err != nil {
				t.Errorf("GC: %v", err)
			}
			if left := node.Rules() + node.Run("ip", "-d", "link"); strings.Contains(left, "/eth0") {
				t.Errorf("after DEL and GC the node still has\n%s", left)
			}
		})
	}
}

// A container that gives itself the address of another does not get what is sent to it, even when the other is away.
func TestAddressesOfABridgeAreNotTaken(t *testing.T) {
	for name, guarded := range map[string]bool{"with the key": true, "without the key": false} {
		t.Run(name, func(t *testing.T) {
			node := cnitest.NewNode(t)
			conf := guardedBridge(t)
			if !guarded {
				conf = strings.Replace(conf, `"ipspoofchk": true, `, "", 1)
			}
			list := cnitest.List(t, conf)
			a, b, client := cnitest.Pod(t, "a"), cnitest.Pod(t, "b"), cnitest.Pod(t, "client")
			for _, p := range []*libcni.RuntimeConf{a, b, client} {
				node.Add(list, p)
			}
			cnitest.Serve(t, a.NetNS, "a", 80)
			cnitest.Expect(t, client.NetNS, "tcp", "10.88.0.2:80", "a 10.88.0.4")
			cnitest.Expect(t, client.NetNS, "tcp", "[fd00:88::2]:80", "a fd00:88::4")
			cnitest.RunIn(t, b.NetNS, "ip", "link", "set", "eth0", "down")
			cnitest.RunIn(t, a.NetNS, "ip", "addr", "add", "10.88.0.3/16", "dev", "eth0")
			cnitest.RunIn(t, a.NetNS, "ip", "addr", "add", "fd00:88::3/64", "dev", "eth0", "nodad")
			for _, address := range []string{"10.88.0.3:80", "[fd00:88::3]:80"} {
				if answer, err := cnitest.Ask(client.NetNS, "tcp", address); (err == nil) == guarded {
					t.Errorf("the address %s that b has answered %q, %v", address, answer, err)
				}
			}
		})
	}
}

func TestCheckFindsMissingGuards(t *testing.T) {
	for family, conf := range map[string]string{"bridge": guardedBridge(t), "ip6": dualStack(t, "1.1.0")} {
		t.Run(family, func(t *testing.T) {
			node := cnitest.NewNode(t)
			list := cnitest.List(t, conf)
			a, b := cnitest.Pod(t, "a"), cnitest.Pod(t, "b")
			node.Add(list, a)
			node.Add(list, b)
			err := sweep.Sweep(t.Context(), sweep.Config{
				Network: list.Name, DataDir: t.TempDir(), NetNS: node.NS, Containers: []string{"a", "b"}, Log: slog.New(slog.DiscardHandler),
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := node.Check(list, a); err != nil {
				t.Errorf("CHECK after a sweep that knew the container: %v", err)
			}
			node.Run("nft", "flush", "set", family, "eastwest_source", "from6")
			if err := node.Check(list, a); err == nil || !strings.Contains(err.Error(), "from6") {
				t.Errorf("CHECK without a guard: %v", err)
			}
			if err := node.Del(list, a); err != nil {
				t.Errorf("DEL without a guard: %v", err)
			}
			node.Add(list, a) // the set is filled again
			if err := node.Check(list, a); err != nil {
				t.Errorf("CHECK: %v", err)
			}
			node.Run("nft", "delete", "table", family, "eastwest_source")
			if err := node.Del(list, a); err != nil {
				t.Errorf("DEL without a table: %v", err)
			}
			node.Add(list, a) // the table is made again
			if err := node.Check(list, a); err != nil {
				t.Errorf("CHECK: %v", err)
			}
		})
	}
}

// Guards that another program took away come back from what the runtime keeps, of those that are attached alone.
func TestGuardsComeBack(t *testing.T) {
	for family, conf := range map[string]string{"bridge": guardedBridge(t), "ip6": dualStack(t, "1.1.0")} {
		t.Run(family, func(t *testing.T) {
			node := cnitest.NewNode(t)
			list := cnitest.List(t, conf)
			a, b, gone := cnitest.Pod(t, "a"), cnitest.Pod(t, "b"), cnitest.Pod(t, "gone")
			for _, p := range []*libcni.RuntimeConf{a, b, gone} {
				node.Add(list, p)
			}
			cnitest.RunIn(t, gone.NetNS, "ip", "link", "del", "eth0") // and nobody tells the runtime
			keeper := restore.New(restore.Config{CacheDirs: []string{node.Cache, filepath.Join(node.Cache, "none")}, NetNS: node.NS})
			restore := func() string {
				t.Helper()
				owners, err := keeper.Restore(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				var ids []string
				for _, o := range owners {
					ids = append(ids, o.ContainerID)
				}
				return strings.Join(ids, " ")
			}
			if got := restore(); got != "" {
				t.Errorf("restored %q although nothing was taken away", got)
			}
			whole := node.Run("nft", "list", "table", family, "eastwest_source")
			for _, taken := range [][]string{
				{"flush", "ruleset"}, {"delete", "table", family, "eastwest_source"}, {"flush", "set", family, "eastwest_source", "from6"},
				{"flush", "chain", family, "eastwest_source", "prerouting"},
			} {
				node.Run(append([]string{"nft"}, taken...)...)
				if got := restore(); got != "a b" {
					t.Errorf("%q: restored %q", taken, got)
				}
				if err := errors.Join(node.Check(list, a), node.Check(list, b)); err != nil {
					t.Errorf("%q: CHECK: %v", taken, err)
				}
				now := node.Run("nft", "list", "table", family, "eastwest_source")
				if strings.Count(now, "drop") != strings.Count(whole, "drop") || strings.Contains(now, "/gone/") {
					t.Errorf("%q: now\n%s\nbefore\n%s", taken, now, whole)
				}
			}
		})
	}
}

func TestGuardNeedsAddresses(t *testing.T) {
	node := cnitest.NewNode(t)
	list := cnitest.List(t, `{"cniVersion": "1.1.0", "name": "n", "plugins": [{"type": "bridge", "ipspoofchk": true}]}`)
	if _, err := node.TryAdd(list, cnitest.Pod(t, "x")); err == nil || !strings.Contains(err.Error(), "needs an IPAM plugin") {
		t.Errorf("error = %v", err)
	}
}

// receive gives the datagrams that arrive at a port of a namespace.
func receive(t *testing.T, ns string, port int) <-chan string {
	t.Helper()
	out := make(chan string, 64)
	for _, family := range []string{"udp4", "udp6"} {
		var conn net.PacketConn
		err := netns.Do(ns, func() (err error) {
			conn, err = net.ListenPacket(family, fmt.Sprintf(":%d", port))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		go func() {
			buf := make([]byte, 64)
			for {
				n, _, err := conn.ReadFrom(buf)
				if err != nil {
					return
				}
				out <- string(buf[:n])
			}
		}()
	}
	return out
}

func send(t *testing.T, ns, from, to, text string) {
	t.Helper()
	err := netns.Do(ns, func() error {
		dialer := net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(from)}}
		conn, err := dialer.Dial("udp", net.JoinHostPort(to, "9000"))
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = conn.Write([]byte(text))
		return err
	})
	if err != nil {
		t.Fatalf("send from %s to %s: %v", from, to, err)
	}
}

// collect returns the next n texts, sorted: packets may overtake each other.
func collect(t *testing.T, in <-chan string, n int) []string {
	t.Helper()
	var got []string
	for len(got) < n {
		select {
		case text := <-in:
			got = append(got, text)
		case <-time.After(5 * time.Second):
			t.Fatalf("%d of %d datagrams arrived: %q", len(got), n, got)
		}
	}
	slices.Sort(got)
	return got
}
