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
	}, lingering)
}

// lingering is the one case that IPVS cannot pass: it remembers a client's endpoint for as long as it remembers one of the
// client's connections, and one of TCP that was closed for 120 s, which nothing can set (tcp_timeouts in the kernel's
// ip_vs_proto_tcp.c). TestAffinityEnds has what can be set.
var lingering = conformance.Exception{Case: "affinity-ends", Reason: "IPVS remembers clients while it remembers one of their connections"}

// A client is remembered as long as its Service says where IPVS forgets its connections sooner.
func TestAffinityEnds(t *testing.T) {
	requireIPVS(t)
	ns := netnstest.New(t)
	netnstest.Own(t, ns, netip.MustParseAddr("172.18.0.2"))
	netnstest.Serve(t, ns, "172.18.0.2:8080", func(conn net.Conn) { fmt.Fprint(conn, "hello") })
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
