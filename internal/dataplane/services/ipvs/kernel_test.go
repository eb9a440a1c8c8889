// SPDX-License-Identifier: Apache-2.0

package ipvs_test

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"eastwest/internal/dataplane"
	"eastwest/internal/dataplane/conformance"
	"eastwest/internal/dataplane/services/ipvs"
	kernel "eastwest/internal/kernel/ipvs"
	"eastwest/internal/kernel/netns/netnstest"
	"eastwest/internal/kernel/nft"
	"eastwest/internal/table"
)

func TestConformance(t *testing.T) {
	requireIPVS(t)
	conformance.Services(t, func(t *testing.T, path string, config dataplane.Node) dataplane.Dataplane[table.Service] {
		return onKernel(t, path, kernel.NewDevice(path), config)
	}, impossible...)
}

// impossible are the cases that IPVS cannot pass.
var impossible = []conformance.Exception{
	{Case: "affinity-ends", Reason: "IPVS remembers clients while it remembers one of their connections"},
	{Case: "tcp-node-port-changed", Reason: "IPVS forgets the connections of a virtual server that is deleted"},
}

// A client is remembered as long as its Service says where IPVS forgets its connections sooner.
func TestAffinityEnds(t *testing.T) {
	requireIPVS(t)
	ns := netnstest.New(t)
	netnstest.In(t, ns, func() error {
		return exec.Command("sh", "-c", "ip link set lo up && ip addr add 172.18.0.2/32 dev lo").Run()
	})
	row := nginx(0)
	row.Frontends = row.Frontends[:1]
	row.Frontends[0].Protocol, row.Frontends[0].Action, row.Frontends[0].AffinitySeconds = table.UDP, table.Forward, 4
	for _, name := range []string{"172.18.0.2:8081", "172.18.0.2:8082", "172.18.0.2:8083"} {
		row.Frontends[0].Endpoints = append(row.Frontends[0].Endpoints, netip.MustParseAddrPort(name))
		answerWith(t, ns, name)
	}
	servers := kernel.New(ns)
	t.Cleanup(servers.Close)
	backend, err := ipvs.New(ipvs.Config{
		Servers: servers, Device: kernel.NewDevice(ns), Rules: nft.New(ns), Log: slog.New(slog.DiscardHandler),
		Settings: kernel.Settings{UDP: time.Second},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := backend.Apply(t.Context(), tableOf(row), table.Keys{All: true}); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for range 4 {
		first := askOnce(t, ns, "10.96.0.7:80")
		if again := askOnce(t, ns, "10.96.0.7:80"); again != first {
			t.Errorf("%s answered, and then %s", first, again)
		}
		seen[first] = true
		time.Sleep(6 * time.Second) // that the kernel counts
	}
	if len(seen) < 2 {
		t.Errorf("always %v, although each time was forgotten", seen)
	}
}

// answerWith answers datagrams at an address with it.
func answerWith(t *testing.T, ns, addr string) {
	t.Helper()
	var socket net.PacketConn
	netnstest.In(t, ns, func() (err error) {
		socket, err = net.ListenPacket("udp", addr)
		return err
	})
	t.Cleanup(func() { socket.Close() })
	go func() {
		buffer := make([]byte, 16)
		for {
			_, from, err := socket.ReadFrom(buffer)
			if err != nil {
				return
			}
			_, _ = socket.WriteTo([]byte(addr), from)
		}
	}()
}

func askOnce(t *testing.T, ns, addr string) string {
	t.Helper()
	buffer, n := make([]byte, 64), 0
	netnstest.In(t, ns, func() error {
		conn, err := net.Dial("udp", addr)
		if err != nil {
			return err
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err = conn.Write([]byte("?")); err == nil {
			n, err = conn.Read(buffer)
		}
		return err
	})
	return string(buffer[:n])
}

// Kernels without dummy devices have the addresses on the loopback.
func TestConformanceWithoutDummies(t *testing.T) {
	requireIPVS(t)
	conformance.Services(t, func(t *testing.T, path string, config dataplane.Node) dataplane.Dataplane[table.Service] {
		return onKernel(t, path, kernel.WithoutDummies(path), config)
	}, impossible...)
}

// Every scheduler of kube-proxy serves, one after the other on the same services, and the node reaches an endpoint that is a
// process of its own.
func TestSchedulers(t *testing.T) {
	requireIPVS(t)
	ns := netnstest.New(t)
	netnstest.In(t, ns, func() error {
		return exec.Command("sh", "-c", "ip link set lo up && ip addr add 172.18.0.2/32 dev lo").Run()
	})
	var listener net.Listener
	netnstest.In(t, ns, func() (err error) {
		listener, err = net.Listen("tcp", "172.18.0.2:8080")
		return err
	})
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(conn, "hello")
			conn.Close()
		}
	}()
	row := nginx(0)
	row.Frontends = row.Frontends[:1]
	row.Frontends[0].Action, row.Frontends[0].Endpoints = table.Forward, []netip.AddrPort{netip.MustParseAddrPort("172.18.0.2:8080")}
	for _, scheduler := range kernel.Schedulers() {
		servers := kernel.New(ns)
		backend, err := ipvs.New(ipvs.Config{
			Servers: servers, Device: kernel.NewDevice(ns), Rules: nft.New(ns), Scheduler: scheduler, Log: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := backend.Apply(t.Context(), tableOf(row), table.Keys{All: true}); err != nil {
			t.Errorf("%s: %v", scheduler, err)
			continue
		}
		list, err := servers.Servers(t.Context())
		for _, s := range list {
			if s.Scheduler != scheduler {
				t.Errorf("%s has scheduler %s, want %s", s.Key, s.Scheduler, scheduler)
			}
		}
		if err != nil || len(list) != 2 { // and the canary
			t.Errorf("%s: virtual servers %v, %v", scheduler, list, err)
		}
		netnstest.In(t, ns, func() error {
			conn, err := net.DialTimeout("tcp", "10.96.0.7:80", 10*time.Second)
			if err != nil {
				return fmt.Errorf("%s: %w", scheduler, err)
			}
			defer conn.Close()
			if answer, err := io.ReadAll(conn); err != nil || string(answer) != "hello" {
				t.Errorf("%s: the endpoint answers %q, %v", scheduler, answer, err)
			}
			return nil
		})
		servers.Close()
	}
}

// What people look at shows the services.
func TestListings(t *testing.T) {
	requireIPVS(t)
	netnstest.RequireProgram(t, "ipvsadm")
	ns := netnstest.New(t)
	netnstest.In(t, ns, func() error {
		return exec.Command("sh", "-c", "ip link set lo up && ip addr add 172.18.0.2/32 dev lo").Run()
	})
	backend := onKernel(t, ns, kernel.NewDevice(ns), dataplane.Node{})
	if err := backend.Apply(t.Context(), tableOf(nginx(2)), table.Keys{All: true}); err != nil {
		t.Fatal(err)
	}
	for command, wants := range map[string][]string{
		"ipvsadm -Ln":                     {"TCP  10.96.0.7:80 rr\n  -> 10.244.1.2:80 ", "TCP  172.18.0.2:31000 rr\n", "TCP  192.0.0.8:1 rr\n"},
		"ip address show kube-ipvs0":      {" 10.96.0.7/32 ", " 198.51.100.7/32 "},
		"nft list table ip eastwest-ipvs": {` . 31000 comment "default/nginx:http" : 192.0.0.8 . 1 }`},
	} {
		var text []byte
		netnstest.In(t, ns, func() (err error) {
			text, err = exec.Command("sh", "-c", command).CombinedOutput()
			return err
		})
		for _, want := range wants {
			if !strings.Contains(string(text), want) {
				t.Errorf("%s has no %q:\n%s", command, want, text)
			}
		}
	}
}

// What somebody takes away is noticed and written again.
func TestEmptiedIPVSIsMended(t *testing.T) {
	requireIPVS(t)
	ns := netnstest.New(t)
	netnstest.In(t, ns, func() error { return exec.Command("ip", "link", "set", "lo", "up").Run() })
	servers := kernel.New(ns)
	t.Cleanup(servers.Close)
	backend := onKernel(t, ns, kernel.NewDevice(ns), dataplane.Node{})
	apply := func() string {
		t.Helper()
		if err := backend.Apply(t.Context(), tableOf(nginx(2)), table.Keys{All: true}); err != nil {
			t.Fatal(err)
		}
		text, err := backend.Dump(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	want := apply()
	for _, command := range []string{"ip link del kube-ipvs0", "ip addr flush dev kube-ipvs0", "nft flush ruleset"} {
		netnstest.In(t, ns, func() error { return exec.Command("sh", "-c", command).Run() })
		if have := apply(); have != want {
			t.Errorf("after %s:\n%s\nwant:\n%s", command, have, want)
		}
	}
	if err := servers.Delete(t.Context(), ipvs.Canary); err != nil {
		t.Fatal(err)
	}
	noticed, ctx := make(chan bool, 1), t.Context()
	go func() {
		_ = kernel.New(ns).Watch(ctx, ipvs.Canary, func() {
			select {
			case noticed <- true:
			default:
			}
		})
	}()
	select {
	case <-noticed:
	case <-time.After(time.Minute):
		t.Error("nobody noticed that IPVS was emptied")
	}
}

// A new address of the node serves node ports once everything is compared, which its watch asks for.
func TestNewAddressServesNodePorts(t *testing.T) {
	ns := netnstest.New(t)
	device := kernel.NewDevice(ns)
	ctx, told := t.Context(), make(chan bool, 16)
	go func() { _ = device.Watch(ctx, func() { told <- true }) }()
	address := "ip link set lo up; ip addr add 172.18.0.9/32 dev lo"
	for {
		netnstest.In(t, ns, func() error { return exec.Command("sh", "-c", address).Run() })
		select {
		case <-told:
			addresses, err := device.Addresses(t.Context())
			if err != nil || !addresses.Elsewhere[netip.MustParseAddr("172.18.0.9")] {
				t.Errorf("addresses %v, %v", addresses, err)
			}
			return
		case <-time.After(time.Second): // the watch had not begun
			address = "ip addr del 172.18.0.9/32 dev lo; ip addr add 172.18.0.9/32 dev lo"
		}
	}
}
