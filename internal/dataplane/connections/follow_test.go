// SPDX-License-Identifier: Apache-2.0

package connections_test

import (
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"eastwest/internal/dataplane"
	"eastwest/internal/dataplane/conformance"
	"eastwest/internal/dataplane/connections"
	"eastwest/internal/kernel/conntrack"
	"eastwest/internal/table"
)

// world is a table that changes at random, and the connections that its Services had.
type world struct {
	t       *rapid.T
	rows    map[string]table.Service
	kernel  *entries
	backend *connections.Backend
	streams *connections.Streams
}

func (w *world) restart() {
	config := connections.Config{Kernel: w.kernel, Node: dataplane.Node{ServiceCIDRs: dataplane.NewRanges(netip.MustParsePrefix("10.96.0.0/12"))}}
	w.streams = connections.NewStreams(connections.StreamsConfig{Config: config, Listed: func() iter.Seq[netip.Addr] { return conformance.Listed(w.table()) }})
	config.Applied = w.streams.Offer
	w.backend = connections.After(nothing{}, config)
}

func (w *world) table() table.Table[table.Service] { return table.Table[table.Service]{}.With(w.rows) }

func (w *world) apply(changed table.Keys) {
	err := w.backend.Apply(w.t.Context(), w.table(), changed)
	if err := errors.Join(err, w.streams.Look(w.t.Context())); err != nil {
		w.t.Fatal(err)
	}
}

// draw gives a Service random endpoints, of which some keep their connections only.
func (w *world) draw(number int, protocol table.Protocol) table.Service {
	row := table.Service{Object: table.Object{Namespace: "default", Name: fmt.Sprint(number)}}
	var using, keeping []netip.AddrPort
	for i := range 4 {
		e := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 244, 0, byte(i)}), 80)
		switch rapid.IntRange(0, 2).Draw(w.t, "endpoint") {
		case 1:
			using = append(using, e)
		case 2:
			keeping = append(keeping, e)
		}
	}
	places := []netip.AddrPort{
		netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 96, 0, byte(number)}), 80),
		netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(30000+10*number+rapid.IntRange(0, 1).Draw(w.t, "node port"))),
	}
	for i, at := range places {
		kind := [...]table.Kind{table.ClusterIP, table.NodePort}[i]
		row.Frontends = append(row.Frontends, table.Frontend{Kind: kind, Addr: at.Addr(), Port: at.Port(), Protocol: protocol, Endpoints: using, Draining: keeping})
	}
	return row
}

// forget ends the connections by ways that there are no more.
func (w *world) forget() {
	*w.kernel = slices.DeleteFunc(*w.kernel, func(e tracked) bool {
		return !slices.ContainsFunc(w.rows[e.service].Frontends, func(f table.Frontend) bool { return leads(f, e) })
	})
}

// leads says whether a connection is one of a frontend.
func leads(f table.Frontend, e tracked) bool {
	return netip.AddrPortFrom(f.Addr, f.Port) == e.To || f.Kind == table.NodePort && f.Port == e.To.Port() && e.To.Addr() == nodeIP
}

// lists says whether a connection leads somewhere: a datagram's by its frontend, a stream's by any Service.
func (w *world) lists(e tracked) bool {
	for key, row := range w.rows {
		for _, f := range row.Frontends {
			is := func(endpoint netip.AddrPort) bool { return endpoint.Addr() == e.Endpoint.Addr() }
			if e.protocol == uint8(table.UDP) {
				is = func(endpoint netip.AddrPort) bool { return key == e.service && leads(f, e) && endpoint == e.Endpoint }
			}
			if slices.ContainsFunc(f.Endpoints, is) || slices.ContainsFunc(f.Draining, is) {
				return true
			}
		}
	}
	return false
}

// Whatever changes, the connections that lead somewhere stay, and no others; the same after a restart.
func TestConnectionsFollow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &world{t: t, rows: map[string]table.Service{}, kernel: &entries{}}
		w.restart()
		w.apply(table.Keys{All: true})
		protocols := []table.Protocol{table.TCP, table.UDP, table.SCTP}
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			number := rapid.IntRange(0, 2).Draw(t, "service")
			row := w.draw(number, protocols[number])
			if before, ok := w.rows[row.Key()]; ok && rapid.IntRange(0, 5).Draw(t, "deleted") == 0 {
				row.Frontends = nil
				delete(w.rows, before.Key())
			} else {
				w.rows[row.Key()] = row
			}
			var want []tracked
			for _, e := range *w.kernel {
				if w.lists(e) {
					want = append(want, e)
				}
			}
			w.apply(table.Keys{Names: []string{row.Key()}})
			same(t, "changed", *w.kernel, want)
			for _, f := range row.Frontends {
				w.kernel.open(f, row.Key())
			}
			have := slices.Clone(*w.kernel)
			if rapid.Bool().Draw(t, "restart") {
				w.forget() // ways that were taken away before are not known any more
				have = slices.Clone(*w.kernel)
				w.restart()
				w.apply(table.Keys{All: true})
				same(t, "restarted", *w.kernel, have)
			}
		}
	})
}

func same(t *rapid.T, when string, have, want []tracked) {
	if !slices.Equal(have, want) {
		t.Fatalf("%s: connections %v, want %v", when, have, want)
	}
}

// open has a client connect to each endpoint of a frontend.
func (e *entries) open(f table.Frontend, service string) {
	to := netip.AddrPortFrom(f.Addr, f.Port)
	if f.Kind == table.NodePort {
		to = netip.AddrPortFrom(nodeIP, f.Port)
	}
	for _, endpoint := range f.Endpoints {
		entry := tracked{conntrack.Entry{To: to, Endpoint: endpoint}, uint8(f.Protocol), service}
		if !slices.Contains(*e, entry) {
			*e = append(*e, entry)
		}
	}
}
