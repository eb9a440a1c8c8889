// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"eastwest/internal/kernel/iptables"
	"eastwest/internal/kernel/nft"
)

// Chains of the backend iptables, which are kube-proxy's.
const (
	chainServices = "KUBE-SERVICES"
	chainFirewall = "KUBE-PROXY-FIREWALL"
	chainExternal = "KUBE-EXTERNAL-SERVICES"
	chainMark     = "KUBE-MARK-MASQ"
	chainOutside  = "KUBE-MARK-OUTSIDE"
	chainSockets  = "KUBE-LOCAL-SOCKETS"
)

// chains are the rules of some tables, by chain, as iptables-save prints them.
type chains struct {
	nat, filter, raw map[string][]chainRule
	local            func(netip.Addr) bool // is it the node's own?
}

// chainRule is one rule: its matches, and where it leads.
type chainRule struct {
	words   []string
	comment string
	target  string
}

// readChains reads the tables; found is false where the backend's chains are not there.
func (e *Explainer) readChains(ctx context.Context, family nft.Family) (c chains, found bool, err error) {
	read, err := e.from.Chains.Chains(ctx, iptablesFamily(family), []string{"nat", "filter", "raw"}, nil)
	if errors.Is(err, iptables.ErrMissing) {
		return chains{}, false, nil
	}
	if err != nil {
		return chains{}, false, fmt.Errorf("read iptables: %w", err)
	}
	parsed := map[string]map[string][]chainRule{"nat": {}, "filter": {}, "raw": {}}
	for chain, rules := range read {
		parsed[chain.Table][chain.Name] = parseRules(rules)
	}
	c = chains{nat: parsed["nat"], filter: parsed["filter"], raw: parsed["raw"], local: e.isLocal}
	return c, len(c.nat[chainServices]) > 0, nil
}

func parseRules(lines []string) []chainRule {
	out := make([]chainRule, 0, len(lines))
	for _, line := range lines {
		rule := chainRule{words: splitRule(line)}
		rule.comment, rule.target = rule.after("--comment"), rule.after("-j")
		out = append(out, rule)
	}
	return out
}

// splitRule splits a rule at spaces outside quotes.
func splitRule(line string) []string {
	quoted := false
	words := strings.FieldsFunc(line, func(r rune) bool {
		if r == '"' {
			quoted = !quoted
		}
		return r == ' ' && !quoted
	})
	for i := range words {
		words[i] = strings.Trim(words[i], `"`)
	}
	return words
}

// after returns the word after another; empty when that is not there.
func (r chainRule) after(word string) string {
	if i := slices.Index(r.words, word); i >= 0 && i+1 < len(r.words) {
		return r.words[i+1]
	}
	return ""
}

// ruleset takes the networks out of the rules that masquerade clients that are no pods, and of those that refuse addresses that no
// service has.
func (c chains) ruleset() *ruleset {
	r := &ruleset{}
	for chain, rules := range c.nat {
		for _, rule := range rules {
			pods := rule.target == chainMark && len(rule.words) > 1 && rule.words[0] == "!"
			if pods || chain == chainOutside && rule.target == "RETURN" {
				r.clusters = append(r.clusters, prefixes(rule.after("-s"))...)
			}
		}
	}
	for _, rule := range c.filter[chainServices] {
		if rule.comment == unusedNote {
			r.services = append(r.services, prefixes(rule.after("-d"))...)
		}
	}
	return r
}

// packet is what rules match.
type packet struct {
	Question
	device string // that it comes in on
	node   bool   // it is the node's own
}

// matches reports whether a packet that opens a connection meets a rule. What the packet did before is not known: rules about
// marks and clients that are remembered are taken for others'.
func (c chains) matches(rule chainRule, p packet) bool {
	not := false
	for i, word := range rule.words {
		value := ""
		if i+1 < len(rule.words) {
			value = rule.words[i+1]
		}
		met := true
		switch word {
		case "!":
			not = true
			continue
		case "-s":
			met = p.From.IsValid() && contains(prefixes(value), p.From)
		case "-d":
			met = contains(prefixes(value), p.To.Addr())
		case "-p":
			met = value == p.Protocol.String()
		case "-i":
			name, prefix := strings.CutSuffix(value, "+")
			met = p.device == name || prefix && p.device != "" && strings.HasPrefix(p.device, name)
		case "--dport":
			met = value == strconv.Itoa(int(p.To.Port()))
		case "--dst-type":
			met = c.local(p.To.Addr())
		case "--src-type":
			met = p.node
		case "--ctstate":
			met = strings.Contains(value, "NEW")
		case "--mark", "--rcheck":
			met = false
		}
		if met == not {
			return false
		}
		not = false
	}
	return true
}
