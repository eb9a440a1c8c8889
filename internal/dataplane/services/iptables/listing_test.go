// SPDX-License-Identifier: Apache-2.0

package iptables_test

import (
	"context"
	"log/slog"
	"net/netip"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"eastwest/internal/dataplane"
	services "eastwest/internal/dataplane/services/iptables"
	"eastwest/internal/kernel/iptables"
	"eastwest/internal/kernel/netns"
	"eastwest/internal/kernel/netns/netnstest"
	"eastwest/internal/table"
)

// counting counts what is written, to see that nothing is written without need.
type counting struct {
	*iptables.Conn
	restores []string
}

func (c *counting) Restore(ctx context.Context, family iptables.Family, input string) error {
	c.restores = append(c.restores, input)
	return c.Conn.Restore(ctx, family, input)
}

func newBackend(t *testing.T, kernel services.Kernel) *services.Backend {
	t.Helper()
	backend, err := services.New(services.Config{
		Kernel: kernel, Log: slog.New(slog.DiscardHandler), Node: dataplane.Node{
			Local:        dataplane.Local{CIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("fd00:10::/48")}},
			ServiceCIDRs: dataplane.NewRanges(netip.MustParsePrefix("10.96.0.0/12"), netip.MustParsePrefix("fd00:96::/108")),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return backend
}

func service(key, portName, addr string, protocol table.Protocol, port uint16, endpoints ...string) table.Service {
	namespace, name, _ := strings.Cut(key, "/")
	s := table.Service{
		Object:    table.Object{Kind: "Service", Namespace: namespace, Name: name},
		Addresses: []netip.Addr{netip.MustParseAddr(addr)},
	}
	f := table.Frontend{Addr: s.Addresses[0], Protocol: protocol, Port: port, PortName: portName, Masquerade: table.FromOutside, Action: table.Reject}
	for _, e := range endpoints {
		f.Action = table.Forward
		f.Endpoints = append(f.Endpoints, netip.MustParseAddrPort(e))
	}
	s.Frontends = []table.Frontend{f}
	return s
}

func tableOf(rows ...table.Service) table.Table[table.Service] {
	set := map[string]table.Service{}
	for _, row := range rows {
		set[row.Key()] = row
	}
	return table.Table[table.Service]{}.With(set)
}

var spaces = regexp.MustCompile(`[ \t]+`)

// listed returns what iptables -L prints, without counters, and with one space where it pads.
func listed(t *testing.T, ns string, chain string) string {
	t.Helper()
	var out []byte
	err := netns.Do(ns, func() (err error) {
		out, err = exec.Command("iptables", "-t", "nat", "-L", chain, "-n", "-v").CombinedOutput()
		return err
	})
	if err != nil {
		t.Fatalf("list %s: %v: %s", chain, err, out)
	}
	counters := regexp.MustCompile(`(?m)^ *[0-9KMG]+ +[0-9KMG]+ +`)
	return spaces.ReplaceAllString(counters.ReplaceAllString(string(out), ""), " ")
}

// The listings that texts about cluster networking show come out the same: names, order, comments, probabilities.
func TestListingsOfTheTexts(t *testing.T) {
	netnstest.RequireProgram(t, "iptables-restore")
	ns := netnstest.New(t)
	backend := newBackend(t, iptables.New(ns))
	rows := tableOf(
		service("default/mysvc", "", "10.96.62.22", table.TCP, 8080, "10.244.1.2:8080", "10.244.2.2:8080", "10.244.2.3:8080"),
		service("kube-system/kube-dns", "dns", "10.96.0.10", table.UDP, 53, "10.244.0.3:53"),
		service("default/kubernetes", "https", "10.96.0.1", table.TCP, 443, "172.18.0.3:6443"),
	)
	if err := backend.Apply(t.Context(), rows, table.Keys{All: true}); err != nil {
		t.Fatal(err)
	}
	for chain, lines := range map[string][]string{
		"PREROUTING": {"KUBE-SERVICES 0 -- * * 0.0.0.0/0 0.0.0.0/0 /* kubernetes service portals */"},
		"KUBE-SERVICES": {
			"Chain KUBE-SERVICES (2 references)",
			"KUBE-SVC-BM6F4AVTDKG47F3K 6 -- * * 0.0.0.0/0 10.96.62.22 /* default/mysvc cluster IP */ tcp dpt:8080",
			"KUBE-SVC-TCOU7JCQXEZGVUNU 17 -- * * 0.0.0.0/0 10.96.0.10 /* kube-system/kube-dns:dns cluster IP */ udp dpt:53",
			"KUBE-SVC-NPX46M4PTMTKRN6Y 6 -- * * 0.0.0.0/0 10.96.0.1 /* default/kubernetes:https cluster IP */ tcp dpt:443",
			"KUBE-NODEPORTS 0 -- * * 0.0.0.0/0 0.0.0.0/0 /* kubernetes service nodeports; NOTE: this must be the last rule in this chain */ ADDRTYPE match dst-type LOCAL",
		},
		"KUBE-SVC-BM6F4AVTDKG47F3K": {
			"Chain KUBE-SVC-BM6F4AVTDKG47F3K (1 references)",
			"KUBE-MARK-MASQ 6 -- * * !10.244.0.0/16 10.96.62.22 /* default/mysvc cluster IP */ tcp dpt:8080",
			"KUBE-SEP-CMSFOBEB7HHZOTBZ 0 -- * * 0.0.0.0/0 0.0.0.0/0 /* default/mysvc -> 10.244.1.2:8080 */ statistic mode random probability 0.33333333349",
			"KUBE-SEP-VVWLMARALSB3FCZF 0 -- * * 0.0.0.0/0 0.0.0.0/0 /* default/mysvc -> 10.244.2.2:8080 */ statistic mode random probability 0.50000000000",
			"KUBE-SEP-XGAC3VXZG7B73WCD 0 -- * * 0.0.0.0/0 0.0.0.0/0 /* default/mysvc -> 10.244.2.3:8080 */",
		},
		"KUBE-SEP-CMSFOBEB7HHZOTBZ": {
			"KUBE-MARK-MASQ 0 -- * * 10.244.1.2 0.0.0.0/0 /* default/mysvc */",
			"DNAT 6 -- * * 0.0.0.0/0 0.0.0.0/0 /* default/mysvc */ tcp to:10.244.1.2:8080",
		},
	} {
		listing := listed(t, ns, chain)
		for _, line := range lines {
			if !strings.Contains(listing, line+"\n") && !strings.Contains(listing, line+" \n") && !numbered(listing, line) {
				t.Errorf("chain %s has no line\n%s\nbut\n%s", chain, line, listing)
			}
		}
	}
}

// numbered compares where this version of iptables prints the names of protocols.
func numbered(listing, line string) bool {
	names := strings.NewReplacer(" 6 -- ", " tcp -- ", " 17 -- ", " udp -- ", " 0 -- ", " all -- ")
	return strings.Contains(strings.ReplaceAll(listing, " \n", "\n"), names.Replace(line)+"\n")
}

// A second process that finds everything in place writes nothing, and a changed endpoint writes the chains of its service
// alone.
func TestOnlyWhatChangedIsWritten(t *testing.T) {
	netnstest.RequireProgram(t, "iptables-restore")
	ns := netnstest.New(t)
	kernel := &counting{Conn: iptables.New(ns)}
	other := service("default/other", "http", "fd00:96::2", table.UDP, 80, "[fd00:10::2]:80")
	other.Frontends[0].AffinitySeconds = 60
	ranged := service("default/ranged", "", "10.96.0.9", table.TCP, 80, "10.244.0.9:80", "10.244.1.9:80", "10.244.2.9:80", "10.244.3.9:80")
	ranged.HealthCheck = 30999
	balancer := ranged.Frontends[0]
	balancer.Kind, balancer.Addr = table.LoadBalancer, netip.MustParseAddr("198.51.100.7")
	balancer.SourceRanges = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("192.0.2.0/24")}
	out := balancer
	out.View, out.Local, out.Action, out.Endpoints, out.Masquerade = table.Outside, true, table.Drop, nil, table.Never
	port := balancer
	port.Kind, port.Addr, port.Port, port.SourceRanges = table.NodePort, netip.IPv4Unspecified(), 31000, nil
	ranged.Frontends = append(ranged.Frontends, balancer, out, port)
	elsewhere := table.Service{Object: table.Object{Kind: "Service", Namespace: "default", Name: "elsewhere"},
		Elsewhere: []netip.Addr{netip.MustParseAddr("10.96.0.10"), netip.MustParseAddr("fd00:96::10")}}
	before := tableOf(service("default/a", "", "10.96.0.7", table.TCP, 80, "10.244.0.2:80"), other, ranged, elsewhere, service("default/empty", "", "10.96.0.8", table.TCP, 80))
	for i := range 2 {
		kernel.restores = nil
		if err := newBackend(t, kernel).Apply(t.Context(), before, table.Keys{All: true}); err != nil {
			t.Fatal(err)
		}
		if i == 1 && len(kernel.restores) > 0 {
			t.Errorf("the second start wrote\n%s", strings.Join(kernel.restores, "\n"))
		}
	}
	backend := newBackend(t, kernel)
	if err := backend.Apply(t.Context(), before, table.Keys{All: true}); err != nil {
		t.Fatal(err)
	}
	kernel.restores = nil
	after := before.With(map[string]table.Service{"default/a": service("default/a", "", "10.96.0.7", table.TCP, 80, "10.244.0.2:80", "10.244.0.3:80")})
	if err := backend.Apply(t.Context(), after, table.Keys{Names: []string{"default/a"}}); err != nil {
		t.Fatal(err)
	}
	if len(kernel.restores) != 1 || strings.Contains(kernel.restores[0], ":KUBE-SERVICES") || strings.Count(kernel.restores[0], "\n:") != 2 {
		t.Errorf("one more endpoint wrote\n%s", strings.Join(kernel.restores, "\n"))
	}
}

// Nothing stays behind, also of chains that kube-proxy left, and rules of others stay.
func TestRemoveLeavesNothing(t *testing.T) {
	netnstest.RequireProgram(t, "iptables-restore")
	ns := netnstest.New(t)
	kernel := iptables.New(ns)
	foreign := "*nat\n:OTHER - [0:0]\n:KUBE-SVC-AAAAAAAAAAAAAAAA - [0:0]\n-A OTHER -d 192.0.2.1/32 -j ACCEPT\n-A PREROUTING -j OTHER\nCOMMIT\n"
	if err := kernel.Restore(t.Context(), iptables.IPv4, foreign); err != nil {
		t.Fatal(err)
	}
	backend := newBackend(t, kernel)
	if err := backend.Apply(t.Context(), tableOf(service("default/a", "", "10.96.0.7", table.TCP, 80, "10.244.0.2:80")), table.Keys{All: true}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := backend.Remove(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, family := range []iptables.Family{iptables.IPv4, iptables.IPv6} {
		for _, name := range []string{"nat", "filter", "raw"} {
			text, err := kernel.Save(t.Context(), family, name)
			if err != nil || strings.Contains(text, "KUBE-") {
				t.Errorf("left in %s %s: %v\n%s", family, name, err, text)
			}
			if family == iptables.IPv4 && name == "nat" && !strings.Contains(text, "-A PREROUTING -j OTHER") {
				t.Errorf("another's rule is gone:\n%s", text)
			}
		}
	}
}
