// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"context"
	"errors"
	"iter"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"eastwest/internal/dataplane"
	"eastwest/internal/dataplane/connections"
	"eastwest/internal/kernel/conntrack"
	"eastwest/internal/table"
)

// Maker makes the backend under test for the node whose network namespace is at path.
type Maker func(t *testing.T, path string, node dataplane.Node) dataplane.Dataplane[table.Service]

// Exception is a case that a backend cannot pass.
type Exception struct{ Case, Reason string }

func standard() dataplane.Node {
	return dataplane.Node{
		Local:        dataplane.Local{CIDRs: prefixes("10.244.0.0/16", "fd00:10::/32")},
		ServiceCIDRs: dataplane.NewRanges(prefixes("10.96.0.0/12", "fd00:96::/108")...),
	}
}

// Services runs the suite. As in a node, connections follow what the backend does. Cases that a backend cannot pass are named
// with the reason.
func Services(t *testing.T, make Maker, except ...Exception) { Explained(t, make, nil, except...) }

// Explained is the suite, and wants an explanation of every question that agrees with what became of it.
func Explained(t *testing.T, make Maker, explain Explain, except ...Exception) {
	l := newLab(t)
	for _, pod := range []host{l.a, l.b, l.c} {
		serve(t, pod, 80)
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			for _, e := range except {
				if e.Case == c.name {
					t.Skip(e.Reason)
				}
			}
			config := standard()
			if c.configure != nil {
				c.configure(&config)
			}
			s := &scene{t: t, lab: l, explain: explain, ranges: config.ServiceCIDRs}
			s.restart = func() {
				s.dataplane = following(make(t, l.node.netns, config), connections.Config{Node: config, Kernel: conntrack.New(l.node.netns)})
				s.started = false
			}
			s.restart()
			t.Cleanup(s.cleanUp)
			c.play(s)
		})
	}
}

// followed is a backend that connections follow, streams at once.
type followed struct {
	dataplane.Dataplane[table.Service]
	streams *connections.Streams
	rows    *table.Table[table.Service] // that were applied last
}

func following(inner dataplane.Dataplane[table.Service], config connections.Config) followed {
	rows := new(table.Table[table.Service])
	also := connections.StreamsConfig{Config: config, Listed: func() iter.Seq[netip.Addr] { return Listed(*rows) }}
	also.Elsewhere, _ = inner.(connections.Forgetter)
	streams := connections.NewStreams(also)
	config.Applied = streams.Offer
	return followed{connections.After(inner, config), streams, rows}
}

func (f followed) Apply(ctx context.Context, want table.Table[table.Service], changed table.Keys) error {
	*f.rows = want
	return errors.Join(f.Dataplane.Apply(ctx, want, changed), f.streams.Look(ctx))
}

// Listed yields the addresses of endpoints as slices would list them that rows were compiled from.
func Listed(rows table.Table[table.Service]) iter.Seq[netip.Addr] {
	return func(yield func(netip.Addr) bool) {
		for _, row := range rows.All() {
			for _, f := range row.Frontends {
				for _, e := range slices.Concat(f.Endpoints, f.Draining) {
					if !yield(e.Addr()) {
						return
					}
				}
			}
		}
	}
}

// scene is one case being played.
type scene struct {
	t         *testing.T
	lab       *lab
	dataplane dataplane.Dataplane[table.Service]
	rows      table.Table[table.Service]
	started   bool
	restart   func() // a new process takes over from the last one
	explain   Explain
	ranges    *dataplane.Ranges // of services
}

// apply replaces the services and tells the dataplane which changed.
func (s *scene) apply(rows ...table.Service) {
	s.t.Helper()
	next := map[string]table.Service{}
	keys := s.rows.Keys()
	for _, row := range rows {
		key := row.Object.Namespace + "/" + row.Object.Name
		next[key] = row
		keys = append(keys, key)
	}
	s.rows = table.Table[table.Service]{}.With(next)
	if err := s.dataplane.Apply(s.t.Context(), s.rows, table.Keys{All: !s.started, Names: keys}); err != nil {
		s.t.Fatal(err)
	}
	s.started = true
}

// expect asks and compares the whole answer.
func (s *scene) expect(from host, network, to, want string) {
	s.t.Helper()
	if have := ask(from, network, to); have != want {
		s.t.Errorf("%s asks %s %s: %s, want %s", from.name, network, to, have, want)
	}
	name, _, _ := strings.Cut(want, " ")
	s.explained(from, network, to, name)
}

// silent wants no answer at all.
func (s *scene) silent(from host, network, to string) {
	s.t.Helper()
	defer s.explained(from, network, to, "silence")
	if conn, err := dial(from, network, to, silence); err == nil {
		conn.Close()
		s.t.Errorf("%s reaches %s %s, want silence", from.name, network, to)
	} else if have := outcome(err); have != "silence" {
		s.t.Errorf("%s asks %s %s: %s, want silence", from.name, network, to, have)
	}
}

// spread asks often and wants every name, and no other, in a share that chance allows.
func (s *scene) spread(from host, network, to string, names ...string) {
	s.t.Helper()
	const each = 40
	counts := who(from, network, to, each*len(names))
	for _, name := range names {
		if counts[name] < each/4 {
			s.t.Errorf("%s asks %s %s: answers %v, want about %d of each of %v", from.name, network, to, counts, each, names)
		}
		delete(counts, name)
	}
	if len(counts) > 0 {
		s.t.Errorf("%s asks %s %s: also %v answered, want only %v", from.name, network, to, counts, names)
	}
	s.explained(from, network, to, names...)
}

func (s *scene) cleanUp() {
	ctx := context.Background() // the test's own has ended
	if err := s.dataplane.Remove(ctx); err != nil {
		s.t.Error(err)
	}
	if left, err := s.dataplane.Dump(ctx); err != nil || strings.TrimSpace(left) != "" {
		s.t.Errorf("after Remove: %v\n%s", err, left)
	}
}

func prefixes(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range list {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}
