// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"eastwest/internal/kernel/netns/netnstest"
)

// shapes are rules of every shape that is read from the kernel.
const shapes = `*raw
:SHAPES - [0:0]
-A SHAPES -s ADDR/8 ! -i lo -m comment --comment "loopback is not for neighbours" -j DROP
-A SHAPES ! -d ADDR/PLEN -i cni+ -j RETURN
-A SHAPES -i veth0 -o cni0 -j ACCEPT
-A SHAPES -d ADDR/HOST -p udp -m comment --comment "default/dns:dns" -m udp --dport 53 -m socket -j CT --notrack
-A SHAPES -s ADDR/HOST -p udp -m comment --comment plain-word -m udp --sport 53 -j CT --notrack
-A SHAPES
COMMIT
*nat
:OTHER - [0:0]
:SHAPES - [0:0]
:SHAPES-LEAVING - [0:0]
-A PREROUTING -m comment --comment "leads there" -j SHAPES
-A PREROUTING -j OTHER
-A OTHER -p tcp -m tcp --dport 80 -j RETURN
-A SHAPES ! -s ADDR/16 -d ADDR/HOST -p tcp -m comment --comment "it's \"so\" \\\\" -m tcp --dport 80 -j OTHER
-A SHAPES ! -i cni0 -m comment --comment "other traffic"
-A SHAPES -j MARK --set-xmark 0x4000/0x4000
-A SHAPES -j MARK --set-xmark 0x4000/0x0
-A SHAPES -m mark ! --mark 0x4000/0x4000 -j RETURN
-A SHAPES -m mark --mark 0x4000/0x4000 -j RETURN
-A SHAPES-LEAVING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully
-A SHAPES-LEAVING -j MASQUERADE
-A SHAPES -m addrtype --dst-type LOCAL -j OTHER
-A SHAPES -m addrtype --src-type LOCAL -j OTHER
-A SHAPES -m recent --rcheck --seconds 10800 --reap --name KUBE-SEP-A --mask MASK --rsource -j OTHER
-A SHAPES -p tcp -m recent --set --name KUBE-SEP-A --mask MASK --rsource -m tcp -j DNAT --to-destination TARGET
-A SHAPES -p sctp -m sctp -j DNAT --to-destination TARGET
-A SHAPES -p sctp -m sctp --dport 80 -j OTHER
-A SHAPES -p udp -m udp -j DNAT --to-destination TARGET
-A SHAPES -m statistic --mode random --probability 0.33333333349 -j OTHER
COMMIT
*filter
:SHAPES - [0:0]
:SHAPES-EMPTY - [0:0]
-A SHAPES -m conntrack --ctstate INVALID -j DROP
-A SHAPES -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A SHAPES -m conntrack --ctstate NEW -m comment --comment "new ones" -j RETURN
-A SHAPES -p tcp -j REJECT --reject-with tcp-reset
-A SHAPES -j REJECT --reject-with PORT-UNREACHABLE
COMMIT
`

var shapesOf = map[Family]*strings.Replacer{
	IPv4: strings.NewReplacer("ADDR/8", "127.0.0.0/8", "ADDR/PLEN", "10.240.0.0/13", "ADDR/16", "10.244.0.0/16", "ADDR/HOST", "10.96.0.10/32",
		"MASK", "255.255.255.255", "TARGET", "10.244.0.2:8080", "PORT-UNREACHABLE", "icmp-port-unreachable"),
	IPv6: strings.NewReplacer("ADDR/8", "::1/128", "ADDR/PLEN", "fd00:80::/25", "ADDR/16", "fd00:10::/48", "ADDR/HOST", "fd00:96::a/128",
		"MASK", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "TARGET", "[fd00:10::2]:8080", "PORT-UNREACHABLE", "icmp6-port-unreachable"),
}

var tables = []string{"raw", "nat", "filter"}

// What the kernel itself tells reads as what iptables-save prints, for every shape of rule.
func TestChainsAreThoseOfSave(t *testing.T) {
	netnstest.RequireProgram(t, "iptables-restore")
	ns := netnstest.New(t)
	conn := New(ns)
	if in, err := conn.inNftables(t.Context()); err != nil || !in {
		t.Skip("the programs keep rules outside nftables", err)
	}
	for family, replacer := range shapesOf {
		if err := conn.Restore(t.Context(), family, replacer.Replace(shapes)); err != nil {
			t.Fatal(err)
		}
		want := saved(t, conn, family, nil)
		for _, wanted := range []func(string) bool{nil, func(chain string) bool { return strings.HasPrefix(chain, "SHAPES") }, func(string) bool { return false }} {
			have, err := conn.listed(t.Context(), family, tables, wanted)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(saved(t, conn, family, wanted), have); diff != "" {
				t.Errorf("%s (-iptables-save +kernel):\n%s", family, diff)
			}
		}
		if rules := len(want[Chain{"nat", "SHAPES"}]); rules != 14 {
			t.Errorf("%d rules in SHAPES of nat, want 14", rules)
		}
	}
}

// A rule of another shape has the program asked.
func TestChainsOfUnknownShapes(t *testing.T) {
	netnstest.RequireProgram(t, "iptables-restore")
	ns := netnstest.New(t)
	conn := New(ns)
	if in, err := conn.inNftables(t.Context()); err != nil || !in {
		t.Skip("the programs keep rules outside nftables", err)
	}
	for _, rule := range []string{
		"-m limit --limit 5/min -j RETURN", "-p icmp -j RETURN", "-p tcp -m tcp --tcp-flags SYN SYN -j RETURN", "-m addrtype --dst-type BROADCAST -j RETURN",
		"-m conntrack --ctstate DNAT -j RETURN", "-m recent --update --seconds 5 --name X --rsource -j RETURN", "-g OTHER", "-f -j RETURN", "-m mark --mark 0x1 -j LOG",
		"-p sctp -m sctp --dport 1:2 -j RETURN", "-p udp -m udp --dport 1000:2000 -j RETURN", "-m statistic --mode nth --every 3 --packet 0 -j RETURN", "-p tcp -j DNAT --to-destination 10.0.0.1-10.0.0.2:80",
		"-p tcp -j DNAT --to-destination 10.0.0.1", "-p tcp -j MASQUERADE --to-ports 1-2",
	} {
		input := "*nat\n:ODD - [0:0]\n:OTHER - [0:0]\n-A ODD " + rule + "\nCOMMIT\n"
		if err := conn.Restore(t.Context(), IPv4, input); err != nil {
			t.Fatalf("%s: %v", rule, err)
		}
		odd := func(chain string) bool { return chain == "ODD" }
		_, err := conn.listed(t.Context(), IPv4, tables, odd)
		if !errors.Is(err, errUnknown) {
			t.Errorf("%s is read from the kernel: %v", rule, err)
		}
		have, err := conn.Chains(t.Context(), IPv4, tables, odd)
		if diff := cmp.Diff(saved(t, conn, IPv4, odd), have); err != nil || diff != "" {
			t.Errorf("%s: %v (-iptables-save +chains):\n%s", rule, err, diff)
		}
		if _, err := conn.listed(t.Context(), IPv4, tables, func(c string) bool { return c == "OTHER" }); err != nil {
			t.Errorf("a rule of another chain is in the way: %v", err)
		}
	}
}

func saved(t *testing.T, conn *Conn, family Family, wanted func(string) bool) map[Chain][]string {
	t.Helper()
	out := map[Chain][]string{}
	for _, table := range tables {
		text, err := conn.Save(t.Context(), family, table)
		if err != nil {
			t.Fatal(err)
		}
		Parse(out, table, text, wanted)
	}
	maps.DeleteFunc(out, func(c Chain, rules []string) bool { // iptables-save names the kernel's own chains before they are there
		return len(rules) == 0 && !strings.HasPrefix(c.Name, "SHAPES")
	})
	return out
}

func FuzzRule(f *testing.F) {
	f.Add([]byte("\x10\x00\x01\x80\x0c\x00\x01\x00counter\x00"))
	f.Fuzz(func(_ *testing.T, expressions []byte) {
		for _, family := range []Family{IPv4, IPv6} {
			ruleOf(family, expressions)
			jumpOf(expressions)
		}
	})
}
