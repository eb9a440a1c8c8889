// SPDX-License-Identifier: Apache-2.0

package connections_test

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"eastwest/internal/dataplane"
	"eastwest/internal/dataplane/conformance"
	"eastwest/internal/dataplane/connections"
	"eastwest/internal/kernel/conntrack"
	"eastwest/internal/table"
)

const (
	vip, nodePort, balancer = "10.96.0.7:80", "0.0.0.0:30000", "192.0.2.7:80"
	first, second           = "10.244.0.2:80", "10.244.0.3:80"
)

// service is a Service with a frontend at each of places, of one protocol.
func service(name string, protocol table.Protocol, places []string, endpoints ...string) table.Service {
	row := table.Service{Object: table.Object{Namespace: "default", Name: name}}
	for _, at := range places {
		place := netip.MustParseAddrPort(at)
		f := table.Frontend{Addr: place.Addr(), Port: place.Port(), Protocol: protocol}
		if place.Addr().IsUnspecified() {
			f.Kind = table.NodePort
		}
		for _, e := range endpoints {
			f.Endpoints = append(f.Endpoints, netip.MustParseAddrPort(e))
		}
		row.Frontends = append(row.Frontends, f)
	}
	return row
}

func way(protocol table.Protocol, to, endpoint string) tracked {
	return tracked{Entry: conntrack.Entry{To: netip.MustParseAddrPort(to), Endpoint: netip.MustParseAddrPort(endpoint)}, protocol: uint8(protocol)}
}

// A change leaves the connections that lead somewhere, of whatever is told of it, and those of others.
func TestWhichConnectionsStay(t *testing.T) {
	elsewhere := table.Service{Object: table.Object{Namespace: "default", Name: "a"}, Elsewhere: []netip.Addr{netip.MustParseAddr("10.96.0.7")}}
	at := []string{vip, nodePort}
	for _, tt := range []struct {
		name   string
		node   dataplane.Node
		before []table.Service
		after  []table.Service
		all    bool     // everything may have changed
		failed int      // how often the kernel refuses before
		listed []string // by slices, whatever rows say
		open   tracked
		stays  bool
	}{
		{name: "stream, endpoint gone", before: []table.Service{service("a", table.TCP, at, first)}, after: []table.Service{service("a", table.TCP, at, second)}, open: way(table.TCP, vip, first)},
		{name: "stream, endpoint in slices that the Service has no port for", before: []table.Service{service("a", table.TCP, at, first)}, after: []table.Service{service("a", table.TCP, at)}, listed: []string{first}, open: way(table.TCP, vip, first), stays: true},
		{name: "stream, endpoint of another Service", before: []table.Service{service("a", table.TCP, at, first), service("b", table.TCP, nil, first)}, after: []table.Service{service("b", table.TCP, []string{balancer}, first)}, open: way(table.TCP, vip, first), stays: true},
		{name: "stream, another proxy's from now on", before: []table.Service{service("a", table.TCP, at, first)}, after: []table.Service{elsewhere}, open: way(table.TCP, vip, first), stays: true},
		{name: "stream to a pod itself", before: []table.Service{service("a", table.TCP, at, first)}, open: way(table.TCP, first, first), stays: true},
		{name: "stream that another program translates", before: []table.Service{service("a", table.TCP, at, first)}, open: way(table.TCP, "192.0.2.9:8080", first), stays: true},
		{name: "stream, ports swapped, and everything compared", all: true, before: []table.Service{service("a", table.TCP, at, first)}, after: []table.Service{service("a", table.TCP, at, "10.244.0.2:81")}, open: way(table.TCP, vip, first), stays: true},
		{name: "stream through a balancer's address of a Service that is deleted when everything is compared", all: true, before: []table.Service{service("a", table.TCP, []string{balancer}, first)}, open: way(table.TCP, balancer, first)},
		{name: "datagrams, node port changed while everything is compared", all: true, before: []table.Service{service("a", table.UDP, at, first)}, after: []table.Service{service("a", table.UDP, []string{vip, "0.0.0.0:30001"}, first)}, open: way(table.UDP, "172.18.0.2:30000", first)},
		{name: "datagrams, node port changed while the kernel refused", failed: 2, before: []table.Service{service("a", table.UDP, at, first)}, after: []table.Service{service("a", table.UDP, []string{vip, "0.0.0.0:30001"}, first)}, open: way(table.UDP, "172.18.0.2:30000", first)},
		{name: "datagrams, another proxy's from now on", before: []table.Service{service("a", table.UDP, at, first)}, after: []table.Service{elsewhere}, open: way(table.UDP, vip, first), stays: true},
		{name: "datagrams at an address that serves no node ports", node: dataplane.Node{NodePortAddresses: []netip.Prefix{netip.MustParsePrefix("172.19.0.0/16")}}, before: []table.Service{service("a", table.UDP, at, first)}, after: []table.Service{service("a", table.UDP, at, second)}, open: way(table.UDP, "172.18.0.2:30000", first), stays: true},
		{name: "the same when everything is compared", all: true, node: dataplane.Node{NodePortAddresses: []netip.Prefix{netip.MustParsePrefix("172.19.0.0/16")}}, before: []table.Service{service("a", table.UDP, at, first)}, after: []table.Service{service("a", table.UDP, at, first)}, open: way(table.UDP, "172.18.0.2:30000", second), stays: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			kernel := &entries{tt.open}
			tt.node.ServiceCIDRs = dataplane.NewRanges(netip.MustParsePrefix("10.96.0.0/12"))
			refused := 0
			config := connections.Config{Node: tt.node, Kernel: refusing{kernel, &refused}}
			var now table.Table[table.Service]
			listed := service("listed", table.TCP, []string{"192.0.2.1:1"}, tt.listed...) // another proxy's, so that no row has it
			also := connections.StreamsConfig{Config: config, Listed: func() iter.Seq[netip.Addr] {
				return conformance.Listed(now.With(map[string]table.Service{listed.Key(): listed}))
			}}
			streams := connections.NewStreams(also)
			config.Applied = streams.Offer
			backend := connections.After(nothing{}, config)
			apply := func(rows []table.Service, all bool) error {
				want := map[string]table.Service{}
				for _, row := range rows {
					want[row.Key()] = row
				}
				now = table.Table[table.Service]{}.With(want)
				err := backend.Apply(t.Context(), now, table.Keys{All: all, Names: []string{"default/a", "default/b"}})
				return errors.Join(err, streams.Look(t.Context()))
			}
			held := slices.Clone(*kernel)
			*kernel = nil
			if err := apply(tt.before, true); err != nil {
				t.Fatal(err)
			}
			*kernel, refused = held, tt.failed
			for range tt.failed {
				if err := apply(tt.after, tt.all); err == nil {
					t.Fatal("no error although the kernel refused")
				}
				tt.all = true // as a loop does after an error
			}
			if err := apply(tt.after, tt.all); err != nil {
				t.Fatal(err)
			}
			if stays := len(*kernel) == 1; stays != tt.stays {
				t.Errorf("the connection stays: %v, want %v", stays, tt.stays)
			}
		})
	}
}

// An endpoint that is back before its time is up keeps its streams; one that stays away loses them, without anybody asking, also while changes keep
// coming.
func TestStreamsEndInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		kernel, refused := &entries{}, 0
		var now table.Table[table.Service]
		streams := connections.NewStreams(connections.StreamsConfig{
			Config: connections.Config{Kernel: refusing{kernel, &refused}}, Listed: func() iter.Seq[netip.Addr] { return conformance.Listed(now) }, Grace: 5 * time.Second, Log: slog.New(slog.DiscardHandler),
		})
		done := make(chan error)
		go func() { done <- streams.Run(ctx) }()
		offer := func(endpoints ...string) {
			row := service("a", table.TCP, []string{vip}, endpoints...)
			now = table.Table[table.Service]{}.With(map[string]table.Service{row.Key(): row})
			streams.Offer(now, table.Keys{Names: []string{row.Key()}})
			synctest.Wait()
		}
		offer(first, second)
		time.Sleep(10 * time.Second)
		*kernel = entries{way(table.TCP, vip, first)}
		offer(second)
		time.Sleep(4 * time.Second)
		offer(first)
		time.Sleep(time.Minute)
		if len(*kernel) != 1 {
			t.Error("the connection ended although its endpoint was back")
		}
		offer(second)
		for range 1000 {
			time.Sleep(4 * time.Millisecond)
			offer(second)
		}
		if len(*kernel) != 1 {
			t.Error("the connection ended after 4 s")
		}
		for range 1000 {
			time.Sleep(4 * time.Millisecond)
			offer(second)
		}
		if len(*kernel) != 0 {
			t.Error("the connection goes on after 8 s")
		}
		*kernel, refused = entries{way(table.TCP, vip, second)}, 3
		offer()
		time.Sleep(30 * time.Second)
		if len(*kernel) != 0 || refused != 0 {
			t.Errorf("the kernel refuses %d times more, and has %d connections", refused, len(*kernel))
		}
		cancel()
		<-done
	})
}
