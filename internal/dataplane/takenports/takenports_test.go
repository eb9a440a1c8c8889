// SPDX-License-Identifier: Apache-2.0

package takenports

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"eastwest/internal/table"
)

func service(name string, ports ...uint16) table.Service {
	row := table.Service{Object: table.Object{Kind: "Service", Namespace: "default", Name: name}}
	for _, port := range ports {
		for _, addr := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
			row.Frontends = append(row.Frontends, table.Frontend{Kind: table.NodePort, Addr: addr, Protocol: table.TCP, Port: port})
		}
	}
	row.Frontends = append(row.Frontends, table.Frontend{Kind: table.ClusterIP, Addr: netip.MustParseAddr("10.96.0.7"), Protocol: table.TCP, Port: 22})
	return row
}

// A node port that a process has is told of once, and again when it was free in between; other ports are not.
func TestTaken(t *testing.T) {
	listening := map[uint16]bool{22: true, 31000: true}
	var told []string
	b := New(Config{
		Listening: func(string) (map[uint16]bool, error) { return listening, nil },
		Report:    func(row table.Service, f table.Frontend) { told = append(told, fmt.Sprint(row.Key(), " ", f.Port)) },
	})
	web, want := service("web", 31000, 31001), []string{}
	rows := table.Table[table.Service]{}.With(map[string]table.Service{"default/web": web, "default/db": service("db", 31002)})
	for _, step := range []struct {
		change func()
		keys   table.Keys
		tells  string
	}{
		{func() {}, table.Keys{All: true}, "default/web 31000"},
		{func() {}, table.Keys{All: true}, ""},
		{func() { listening[31002] = true }, table.Keys{Names: []string{"default/web"}}, ""},
		{func() {}, table.Keys{All: true}, "default/db 31002"},
		{func() { delete(listening, 31000) }, table.Keys{All: true}, ""},
		{func() { listening[31000] = true }, table.Keys{Names: []string{"default/web"}}, "default/web 31000"},
		{func() { rows = rows.With(nil, "default/db") }, table.Keys{Names: []string{"default/db"}}, ""},
	} {
		step.change()
		if step.tells != "" {
			want = append(want, step.tells)
		}
		if err := b.Apply(t.Context(), rows, step.keys); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(told, want) {
			t.Fatalf("told of %v, want %v", told, want)
		}
	}
	if text, err := b.Dump(t.Context()); err != nil || text != "default/web 31000/tcp\n" {
		t.Errorf("%v, taken are %q", err, text)
	}
}
