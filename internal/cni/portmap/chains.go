// SPDX-License-Identifier: Apache-2.0

package portmap

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"eastwest/internal/cni/iptrule"
	"eastwest/internal/cni/plugin"
	"eastwest/internal/kernel/iptables"
)

// The iptables backend makes what the reference plugin makes, with the same names, all in the table nat:
//
//	PREROUTING, OUTPUT    to addresses of this host: -j CNI-HOSTPORT-DNAT
//	CNI-HOSTPORT-DNAT     the ports of a container (and the conditions): -j CNI-DN-0123…
//	CNI-DN-0123…          per mapping: mark what must be masqueraded, then DNAT
//	CNI-HOSTPORT-SETMARK  -j MARK --set-xmark
//	POSTROUTING           -j CNI-HOSTPORT-MASQ, which masquerades what is marked
const (
	natTable     = "nat"
	dnatChain    = "CNI-HOSTPORT-DNAT"
	setMarkChain = "CNI-HOSTPORT-SETMARK"
	masqChain    = "CNI-HOSTPORT-MASQ"
	podPrefix    = "CNI-DN-"
	// portsAtOnce is how many ports the match multiport takes.
	portsAtOnce = 15
)

// applyChains maps the ports to an address of a container. A port that another container has is refused, unless
// conditions say that the two concern different packets.
func applyChains(ctx context.Context, c *config, o plugin.Owner, addr netip.Prefix) error {
	return iptrule.Edit(ctx, iptrule.FamilyOf(addr.Addr().AsSlice()), natTable, func(t *iptrule.Table) error {
		chain := iptrule.ChainName(podPrefix, o)
		if len(c.conditions(addr.Addr())) == 0 {
			if err := refuseTaken(t, chain, c, addr.Addr()); err != nil {
				return err
			}
		}
		t.Detach(chain) // of an ADD that was killed, or to restore
		ensureShared(t, c)
		t.Fill(chain, podRules(c, addr)...)
		for _, entry := range entryRules(c, o, addr.Addr()) {
			t.Append(dnatChain, entry+" -j "+chain)
		}
		return nil
	})
}

// ensureShared makes what containers have in common.
func ensureShared(t *iptrule.Table, c *config) {
	if c.snat() && c.ExternalSetMarkChain == nil {
		ensureMarking(t, c.markBit())
	}
	t.EnsureChain(dnatChain)
	for _, from := range []string{"PREROUTING", "OUTPUT"} {
		t.Append(from, "-m addrtype --dst-type LOCAL -j "+dnatChain)
	}
}

func ensureMarking(t *iptrule.Table, bit int) {
	mark := fmt.Sprintf("%#x/%#x", 1<<bit, 1<<bit)
	t.EnsureChain(setMarkChain)
	t.Append(setMarkChain, `-m comment --comment "CNI portfwd masquerade mark" -j MARK --set-xmark `+mark)
	t.EnsureChain(masqChain)
	t.Append(masqChain, "-m mark --mark "+mark+" -j MASQUERADE")
	t.Insert("POSTROUTING", `-m comment --comment "CNI portfwd requiring masquerade" -j `+masqChain)
}

// entryRules select a container's packets by protocol and port, as many ports at once as there can be.
func entryRules(c *config, o plugin.Owner, addr netip.Addr) []string {
	var out []string
	comment := iptrule.Comment("dnat ", o)
	for _, proto := range []byte{unix.IPPROTO_SCTP, unix.IPPROTO_TCP, unix.IPPROTO_UDP} {
		var ports []string
		for _, m := range c.of(addr) {
			if m.proto == proto {
				ports = append(ports, strconv.Itoa(int(m.hostPort)))
			}
		}
		for some := range slices.Chunk(ports, portsAtOnce) {
			rule := fmt.Sprintf("-p %s -m comment --comment %s -m multiport --dports %s", protoName(proto), comment, strings.Join(some, ","))
			out = append(out, strings.Join(append([]string{rule}, c.conditions(addr)...), " "))
		}
	}
	return out
}

// podRules are a container's chain: for each mapping the marking of what must be masqueraded, and the DNAT.
func podRules(c *config, addr netip.Prefix) []string {
	var out []string
	mark := setMarkChain
	if c.ExternalSetMarkChain != nil {
		mark = *c.ExternalSetMarkChain
	}
	for _, m := range c.of(addr.Addr()) {
		match := m.match()
		switch {
		case !c.snat():
		case c.MasqAll:
			out = append(out, match+" -j "+mark)
		default:
			out = append(out, fmt.Sprintf("-s %s %s -j %s", addr.Masked(), match, mark))
			if addr.Addr().Is4() {
				out = append(out, fmt.Sprintf("-s 127.0.0.1/32 %s -j %s", match, mark))
			}
		}
		out = append(out, fmt.Sprintf("%s -j DNAT --to-destination %s", match, netip.AddrPortFrom(addr.Addr(), m.containerPort)))
	}
	return out
}

// match selects the packets to a mapping's host side.
func (m mapping) match() string {
	name := protoName(m.proto)
	match := fmt.Sprintf("-p %s -m %s --dport %d", name, name, m.hostPort)
	if m.hostIP.IsValid() && !m.hostIP.IsUnspecified() {
		return fmt.Sprintf("-d %s/%d %s", m.hostIP, m.hostIP.BitLen(), match)
	}
	return match
}

func refuseTaken(t *iptrule.Table, own string, c *config, addr netip.Addr) error {
	owners := map[string]plugin.Owner{}
	for _, entry := range t.Rules(dnatChain) {
		if o, ok := iptrule.Owner(entry); ok {
			owners[iptrule.Target(entry)] = o
		}
	}
	for chain, o := range owners {
		if chain == own {
			continue
		}
		for _, m := range c.of(addr) {
			for _, rule := range t.Rules(chain) {
				if strings.HasPrefix(rule, m.match()+" -j DNAT") {
					return fmt.Errorf("%s is taken: it belongs to container %s (network %s)", m, o.ContainerID, o.Network)
				}
			}
		}
	}
	return nil
}

func checkChains(ctx context.Context, c *config, o plugin.Owner, addr netip.Prefix) error {
	chain := iptrule.ChainName(podPrefix, o)
	t, err := iptrule.Read(ctx, iptrule.FamilyOf(addr.Addr().AsSlice()), natTable)
	if err != nil {
		return err
	}
	if ensureShared(t, c); t.Changed() {
		return fmt.Errorf("chain %s of iptables table %s, or what leads to it, is not whole", dnatChain, natTable)
	}
	for _, rule := range podRules(c, addr) {
		if !t.Has(chain, rule) {
			return fmt.Errorf("rule %q is missing in chain %s of iptables table %s", rule, chain, natTable)
		}
	}
	leading := slices.DeleteFunc(slices.Clone(t.Rules(dnatChain)), func(rule string) bool { return iptrule.Target(rule) != chain })
	if want := len(entryRules(c, o, addr.Addr())); len(leading) != want {
		return fmt.Errorf("%d rules in chain %s of iptables table %s lead to chain %s, want %d", len(leading), dnatChain, natTable, chain, want)
	}
	return nil
}

// removeChains removes a container's chain, whoever made it.
func removeChains(ctx context.Context, o plugin.Owner) error {
	return iptrule.Clean(ctx, natTable, func(t *iptrule.Table) { t.Drop(iptrule.ChainName(podPrefix, o)) })
}

func sweepChains(ctx context.Context, alive func(plugin.Owner) bool) error {
	return iptrule.Clean(ctx, natTable, func(t *iptrule.Table) {
		for _, entry := range slices.Clone(t.Rules(dnatChain)) {
			o, ok := iptrule.Owner(entry)
			if chain := iptrule.Target(entry); ok && chain == iptrule.ChainName(podPrefix, o) && !alive(o) {
				t.Drop(chain)
			}
		}
	})
}

// readable says what is missing if a host has no iptables to map ports with.
func readable(err error) error {
	if errors.Is(err, iptables.ErrMissing) {
		return fmt.Errorf("%w, or set \"backend\": \"nftables\"", err)
	}
	return err
}
