// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	mdns "github.com/miekg/dns"
	"pgregory.net/rapid"

	"eastwest/internal/table"
)

// oracle answers from a plain list of records, as a zone file would: slow and obvious.
type oracle struct {
	records map[string][]mdns.RR // by owner
	glue    map[string][]mdns.RR // addresses of the endpoints behind the SRV records, by the owner of those
}

func (o oracle) add(format string, args ...any) {
	addTo(o.records, "", format, args...)
}

func addTo(to map[string][]mdns.RR, owner, format string, args ...any) {
	rr, err := mdns.NewRR(fmt.Sprintf(format, args...))
	if err != nil {
		panic(err)
	}
	if owner == "" {
		owner = rr.Header().Name
	}
	to[owner] = append(to[owner], rr)
}

// newOracle writes down every record that the specification says for the rows.
func newOracle(rows map[string]table.Name) oracle {
	o := oracle{map[string][]mdns.RR{}, map[string][]mdns.RR{}}
	o.add("cluster.local. 5 SOA ns.dns.cluster.local. hostmaster.cluster.local. 1 7200 1800 86400 5")
	o.add(`dns-version.cluster.local. 28800 TXT "1.1.0"`)
	o.exists("svc", "pod", "ns.dns")
	for _, row := range rows {
		if row.Object.Kind == "Namespace" {
			o.exists(row.Object.Name+".svc", row.Object.Name+".pod")
			continue
		}
		o.exists(row.Object.Namespace+".svc", row.Object.Namespace+".pod")
		o.addService(row)
	}
	return o
}

// exists notes names that have no records of their own.
func (o oracle) exists(names ...string) {
	for _, name := range names {
		name += ".cluster.local."
		if _, ok := o.records[name]; !ok {
			o.records[name] = nil
		}
	}
}

func (o oracle) addService(row table.Name) {
	name := row.Object.Name + "." + row.Object.Namespace + ".svc.cluster.local."
	switch {
	case row.ExternalName != "":
		o.add("%s %d CNAME %s.", name, row.TTL, row.ExternalName)
	case row.Headless:
		for _, e := range row.Endpoints {
			host := e.Hostname
			if host == "" {
				host = strings.NewReplacer(".", "-", ":", "-").Replace(e.Addr.String())
			}
			o.addAddress(name, row.TTL, e.Addr)
			o.addAddress(host+"."+name, row.TTL, e.Addr)
			for _, p := range e.Ports {
				o.addPort(p, name, host+"."+name, row.TTL, e.Addr)
				o.addSRV(host+"."+name, p, host+"."+name, row.TTL, e.Addr)
			}
		}
	default:
		for _, a := range row.ClusterIPs {
			o.addAddress(name, row.TTL, a)
			for _, p := range row.Ports {
				o.addPort(p, name, name, row.TTL, a)
			}
		}
	}
}

func (o oracle) addAddress(name string, ttl uint32, a netip.Addr) {
	o.add("%s %d %s %s", name, ttl, family(a), a)
}

func (o oracle) addPort(p table.NamePort, name, target string, ttl uint32, a netip.Addr) {
	o.addSRV(name, p, target, ttl, a)
	if p.Name == "" {
		return
	}
	own := "_" + p.Name + "._" + p.Protocol + "." + name
	o.addSRV(own, p, target, ttl, a)
	o.addAddress(own, ttl, a)
}

func (o oracle) addSRV(name string, p table.NamePort, target string, ttl uint32, a netip.Addr) {
	o.add("%s %d SRV 0 0 %d %s", name, ttl, p.Port, target)
	addTo(o.glue, name, "%s %d %s %s", target, ttl, family(a), a)
}

// answer is code, records and additional addresses, sorted, without weights.
func (o oracle) answer(name string, qtype uint16) (rcode string, answer, extra []string) {
	for _, rr := range o.records[name] {
		if t := rr.Header().Rrtype; t == qtype || t == mdns.TypeCNAME {
			answer = append(answer, plain(rr))
		}
	}
	if qtype == mdns.TypeSRV {
		for _, rr := range o.glue[name] {
			extra = append(extra, plain(rr))
		}
	}
	exists := false
	for owner := range o.records {
		exists = exists || owner == name || strings.HasSuffix(owner, "."+name)
	}
	if !exists {
		rcode = "NXDOMAIN"
	}
	return rcode, sorted(answer), sorted(extra)
}

func sorted(s []string) []string {
	slices.Sort(s)
	return slices.Compact(s)
}

func plain(rr mdns.RR) string {
	rr = mdns.Copy(rr)
	switch rr := rr.(type) {
	case *mdns.SRV:
		rr.Weight = 0
	case *mdns.SOA:
		rr.Serial = 0
	case *mdns.CNAME:
		rr.Hdr.Ttl = 0
	}
	return rr.String()
}

var (
	genLabel = rapid.SampledFrom([]string{"a", "b", "svc", "default", "x-1"})
	genAddr  = rapid.Custom(func(t *rapid.T) netip.Addr {
		if rapid.Bool().Draw(t, "six") {
			return netip.MustParseAddr(fmt.Sprintf("fd00::%d", rapid.IntRange(1, 4).Draw(t, "addr")))
		}
		return netip.MustParseAddr(fmt.Sprintf("10.244.0.%d", rapid.IntRange(0, 4).Draw(t, "addr")))
	})
	genPort = rapid.Custom(func(t *rapid.T) table.NamePort {
		return table.NamePort{
			Name:     rapid.SampledFrom([]string{"", "http", "dns"}).Draw(t, "name"),
			Protocol: rapid.SampledFrom([]string{"tcp", "udp"}).Draw(t, "proto"),
			Port:     uint16(rapid.IntRange(1, 3).Draw(t, "port")),
		}
	})
	genRow = rapid.Custom(func(t *rapid.T) table.Name {
		row := table.Name{Object: objectOf(genLabel.Draw(t, "ns"), genLabel.Draw(t, "name")), TTL: uint32(rapid.IntRange(0, 60).Draw(t, "ttl"))}
		switch rapid.IntRange(0, 3).Draw(t, "kind") {
		case 0:
			row.ClusterIPs = rapid.SliceOfNDistinct(genAddr, 1, 2, rapid.ID[netip.Addr]).Draw(t, "ips")
			row.Ports = rapid.SliceOfN(genPort, 1, 3).Draw(t, "ports")
		case 1:
			row.Headless = true
			row.Endpoints = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) table.NameEndpoint {
				return table.NameEndpoint{
					Hostname: rapid.SampledFrom([]string{"", "h-0", "h-1"}).Draw(t, "host"),
					Addr:     genAddr.Draw(t, "addr"),
					Ports:    rapid.SliceOfN(genPort, 1, 2).Draw(t, "ports"),
				}
			}), 0, 4).Draw(t, "endpoints")
		case 2:
			row.ExternalName = "www.example.com"
		case 3:
			row.Object = table.Object{Kind: "Namespace", Name: row.Object.Namespace}
		}
		return row
	})
	genName = rapid.Custom(func(t *rapid.T) string {
		label := rapid.SampledFrom([]string{"a", "b", "svc", "default", "x-1", "h-0", "_http", "_tcp", "_udp", "_dns", "10-244-0-1", "fd00--1", "pod", "dns-version", "q"})
		labels := rapid.SliceOfN(label, 0, 4).Draw(t, "labels")
		parent := rapid.SampledFrom([]string{"svc.cluster.local.", "svc.cluster.local.", "default.svc.cluster.local.", "cluster.local."}).Draw(t, "parent")
		return strings.Join(append(labels, parent), ".")
	})
	genType = rapid.SampledFrom([]uint16{mdns.TypeA, mdns.TypeAAAA, mdns.TypeSRV, mdns.TypeTXT, mdns.TypeCNAME, mdns.TypeMX, mdns.TypeSOA})
)

// TestZoneEqualsOracle applies random rows step by step and compares random questions with the list of records.
func TestZoneEqualsOracle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		z, err := NewZone(ZoneConfig{Pods: PodsInsecure})
		if err != nil {
			t.Fatal(err)
		}
		rows, tbl := map[string]table.Name{}, table.Table[table.Name]{}
		keys := table.Keys{All: true}
		for range rapid.IntRange(1, 4).Draw(t, "steps") {
			for _, row := range rapid.SliceOfN(genRow, 1, 3).Draw(t, "rows") {
				key := rowKey(row)
				if _, ok := rows[key]; ok && rapid.Bool().Draw(t, "remove") {
					delete(rows, key)
					tbl = tbl.With(nil, key)
				} else {
					rows[key] = row
					tbl = tbl.With(map[string]table.Name{key: row})
				}
				keys.Names = append(keys.Names, key)
			}
			if err := z.Apply(context.Background(), tbl, keys); err != nil {
				t.Fatal(err)
			}
			keys = table.Keys{}
		}
		compareWithOracle(t, z, newOracle(rows))
	})
}

func compareWithOracle(t *rapid.T, z *Zone, o oracle) {
	known := make([]string, 0, len(o.records))
	for name := range o.records {
		known = append(known, name)
	}
	slices.Sort(known)
	for range 20 {
		name := rapid.OneOf(genName, rapid.SampledFrom(known)).Draw(t, "name")
		if strings.HasSuffix(name, ".pod.cluster.local.") && strings.Count(name, ".") > 4 {
			continue // pod records are made up when asked for: no list holds them
		}
		qtype := genType.Draw(t, "type")
		m := queryRapid(t, z, name, qtype)
		rcode, answer, extra := "", []string(nil), []string(nil)
		if m.Rcode != mdns.RcodeSuccess {
			rcode = mdns.RcodeToString[m.Rcode]
		}
		for _, rr := range m.Answer {
			answer = append(answer, plain(rr))
		}
		for _, rr := range m.Extra {
			extra = append(extra, plain(rr))
		}
		wantRcode, wantAnswer, wantExtra := o.answer(name, qtype)
		got := []any{rcode, sorted(answer), sorted(extra)}
		if diff := cmp.Diff([]any{wantRcode, wantAnswer, wantExtra}, got); diff != "" {
			t.Fatalf("%s %s (-want +got):\n%s", name, mdns.TypeToString[qtype], diff)
		}
		if negative := len(m.Answer) == 0; negative != (len(m.Ns) == 1) {
			t.Fatalf("%s: %d answers, but %d records of authority", name, len(m.Answer), len(m.Ns))
		}
	}
}

func queryRapid(t *rapid.T, z *Zone, name string, qtype uint16) *mdns.Msg {
	m, err := queryZone(z, name, qtype, rapid.Uint32().Draw(t, "turn"), maxTCP)
	if err != nil {
		t.Fatal(err)
	}
	return m
}
