// SPDX-License-Identifier: Apache-2.0

package firewall

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	current "github.com/containernetworking/cni/pkg/types/100"

	"eastwest/internal/cni/iptrule"
	"eastwest/internal/cni/plugin"
	"eastwest/internal/kernel/iptables"
)

// The table filter, with the reference plugin's chains:
//
//	FORWARD      -j CNI-FORWARD
//	CNI-FORWARD  -j CNI-ADMIN, which is the administrator's to fill; then for each address
//	             -d 10.88.0.2/32 established -j ACCEPT, -s 10.88.0.2/32 -j ACCEPT
//
// Rules of an address have a comment that names their owner. Those without one were made by the reference plugin.
const (
	filterTable  = "filter"
	forward      = "FORWARD"
	forwardChain = "CNI-FORWARD"
	toForward    = `-m comment --comment "CNI firewall plugin rules" -j ` + forwardChain
	toAdmin      = `-m comment --comment "CNI firewall plugin admin overrides" -j `
	ownerPrefix  = "cni:"
)

// chains is the backend iptables.
type chains struct {
	admin string // name of the administrator's chain
}

var families = []iptables.Family{iptables.IPv4, iptables.IPv6}

func (b chains) add(ctx context.Context, o plugin.Owner, result *current.Result) error {
	for _, family := range families {
		rules := rulesOf(family, result, comment(o))
		if len(rules) == 0 {
			continue
		}
		err := iptrule.Edit(ctx, family, filterTable, func(t *iptrule.Table) error {
			t.EnsureChain(forwardChain)
			t.EnsureChain(b.admin)
			t.Insert(forward, toForward)
			t.Insert(forwardChain, toAdmin+b.admin)
			for _, r := range rules {
				t.Append(forwardChain, r)
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("open firewall: %w", err)
		}
	}
	return nil
}

func (b chains) check(ctx context.Context, o plugin.Owner, result *current.Result) error {
	for _, family := range families {
		rules := rulesOf(family, result, comment(o))
		if len(rules) == 0 {
			continue
		}
		t, err := iptrule.Read(ctx, family, filterTable)
		if err != nil {
			return err
		}
		for _, want := range [][2]string{{forward, toForward}, {forwardChain, toAdmin + b.admin}} {
			if !t.Has(want[0], want[1]) {
				return fmt.Errorf("expected %s rule %q not found", want[0], want[1])
			}
		}
		plain := rulesOf(family, result, "")
		for i, rule := range rules {
			if !t.Has(forwardChain, rule) && !t.Has(forwardChain, plain[i]) {
				return fmt.Errorf("expected %s rule %q not found", forwardChain, rule)
			}
		}
	}
	return nil
}

func (chains) remove(ctx context.Context, o plugin.Owner, result *current.Result) error {
	return iptrule.Clean(ctx, filterTable, func(t *iptrule.Table) {
		for _, rule := range slices.Clone(t.Rules(forwardChain)) {
			if strings.Contains(rule, comment(o)) {
				t.Delete(forwardChain, rule)
			}
		}
		for _, family := range families {
			for _, rule := range rulesOf(family, result, "") {
				t.Delete(forwardChain, rule)
			}
		}
	})
}

// Sweep removes the rules of owners that are not alive.
func Sweep(ctx context.Context, alive func(plugin.Owner) bool) error {
	return iptrule.Clean(ctx, filterTable, func(t *iptrule.Table) {
		for _, rule := range slices.Clone(t.Rules(forwardChain)) {
			if o, ok := ownerOf(rule); ok && !alive(o) {
				t.Delete(forwardChain, rule)
			}
		}
	})
}

func comment(o plugin.Owner) string {
	return `-m comment --comment ` + quote(ownerPrefix+o.String()) + " "
}

// quote does as iptables-save, which puts quotes where there is more than letters and digits and some signs.
func quote(s string) string { return `"` + s + `"` }

func ownerOf(rule string) (plugin.Owner, bool) {
	_, text, found := strings.Cut(rule, "--comment ")
	text, _, _ = strings.Cut(text, " ")
	text, ours := strings.CutPrefix(strings.Trim(text, `"`), ownerPrefix)
	o, ok := plugin.ParseOwner(text)
	return o, found && ours && ok
}

// rulesOf are the rules of a result's addresses of one family.
func rulesOf(family iptables.Family, result *current.Result, comment string) []string {
	if result == nil {
		return nil
	}
	var out []string
	for _, ip := range result.IPs {
		if iptrule.FamilyOf(ip.Address.IP) != family {
			continue
		}
		single := hostPrefix(ip.Address.IP)
		out = append(out,
			fmt.Sprintf("-d %s -m conntrack --ctstate RELATED,ESTABLISHED %s-j ACCEPT", single, comment),
			fmt.Sprintf("-s %s %s-j ACCEPT", single, comment))
	}
	return out
}

func hostPrefix(ip net.IP) string {
	if ip.To4() != nil {
		return ip.String() + "/32"
	}
	return ip.String() + "/128"
}

// Isolation of bridges, with the reference plugin's chains. What comes from a bridge and leaves by something else goes to
// the second stage, which drops it if that is a bridge with a policy too.
const (
	stage1       = "CNI-ISOLATION-STAGE-1"
	stage2       = "CNI-ISOLATION-STAGE-2"
	policyAny    = `-m comment --comment "CNI firewall plugin rules (ingressPolicy: same-bridge|isolated)" -j `
	policyFormat = `-m comment --comment "CNI firewall plugin rules (ingressPolicy: %s)" -j `
)

func (c *config) isolate(ctx context.Context, result *current.Result) error {
	if c.IngressPolicy != policySameBridge && c.IngressPolicy != policyIsolated {
		return nil
	}
	if len(result.Interfaces) == 0 || result.Interfaces[0] == nil || result.Interfaces[0].Name == "" {
		return plugin.ConfigError("interface needs to be set for ingress policy %q, make sure to chain \"firewall\" plugin with \"bridge\"", c.IngressPolicy)
	}
	bridge := result.Interfaces[0].Name
	var failed []error
	for _, family := range families {
		if len(rulesOf(family, result, "")) == 0 {
			continue
		}
		failed = append(failed, iptrule.Edit(ctx, family, filterTable, func(t *iptrule.Table) error {
			isolateBridge(t, bridge, c.IngressPolicy)
			return nil
		}))
	}
	return errors.Join(failed...)
}

func isolateBridge(t *iptrule.Table, bridge, policy string) {
	own := fmt.Sprintf(policyFormat, policy)
	t.EnsureChain(stage1)
	t.EnsureChain(stage2)
	t.Insert(forward, policyAny+stage1)
	t.Insert(stage1, fmt.Sprintf("-i %[1]s ! -o %[1]s %[2]s%[3]s", bridge, own, stage2))
	if policy == policyIsolated {
		t.Insert(stage1, fmt.Sprintf("-i %[1]s -o %[1]s %[2]sDROP", bridge, own))
	}
	t.Append(stage1, policyAny+"RETURN")
	t.Insert(stage2, fmt.Sprintf("-o %s %sDROP", bridge, policyAny))
	t.Append(stage2, policyAny+"RETURN")
}
