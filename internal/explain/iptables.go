// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"context"
	"net/netip"
	"slices"
	"strings"
)

// What the comments of the rules say.
const (
	unusedNote  = "no service has this address and port"
	noPortNote  = " has no such port"
	rangesNote  = " traffic not accepted by "
	masqMarking = "MARK"
)

// labelNotes follow a port's name in comments of rules.
var labelNotes = []string{" cluster IP", " external IP", " loadbalancer IP", " has no endpoints", " has no local endpoints", noPortNote}

// follow finds the chain that takes the packet; nil when none does.
func (c chains) follow(_ context.Context, _ *ruleset, q Question, path *Path) (*Service, error) {
	p := packet{Question: q, node: path.From.Kind == FromNode}
	if path.From.Link != nil {
		p.device = path.From.Link.Name
	}
	socket := slices.IndexFunc(c.raw[chainSockets], func(r chainRule) bool { return c.matches(r, p) })
	if socket >= 0 && p.node {
		return toSocket(Service{Label: c.raw[chainSockets][socket].comment, Table: "raw", Chain: chainSockets}, q), nil
	}
	s := &Service{Table: "nat"}
	if w := (walk{chains: c, packet: p, service: s}); w.through(chainServices) {
		s.Action, s.Endpoints = actionForward, len(s.targets)
		s.LocalSocket = socket >= 0
		return s, nil
	}
	for _, chain := range []string{chainFirewall, chainExternal, chainServices} {
		for _, rule := range c.filter[chain] {
			if !c.matches(rule, p) {
				continue
			}
			if rule.target == "RETURN" {
				break
			}
			return c.refusal(Service{Label: labelOf(rule.comment), Table: "filter", Chain: chain}, rule, q, path), nil
		}
	}
	return nil, nil
}

// refusal says what a rule of table filter does with the packet, and why.
func (c chains) refusal(s Service, rule chainRule, q Question, path *Path) *Service {
	label, _, ranged := strings.Cut(rule.comment, rangesNote)
	switch {
	case ranged:
		s.Label, s.Action = label, actionDrop
		path.problem("the source ranges of service %s leave %s out", label, q.From)
		return &s
	case rule.comment == unusedNote:
		if s.Label = c.ownerOf(q.To.Addr()); s.Label != "" {
			return noPort(s, q, path)
		}
		return noService(s, q, path)
	case strings.HasSuffix(rule.comment, noPortNote):
		return noPort(s, q, path)
	case rule.target == "DROP":
		s.withoutEndpoints(actionDrop, path)
		return &s
	}
	s.withoutEndpoints(actionRefuse, path)
	return &s
}

// ownerOf names the service that has an address at other ports; empty when none has.
func (c chains) ownerOf(addr netip.Addr) string {
	for _, rule := range slices.Concat(c.nat[chainServices], c.filter[chainServices]) {
		if rule.after("--dport") != "" && contains(prefixes(rule.after("-d")), addr) {
			service, _, _ := strings.Cut(labelOf(rule.comment), ":")
			return service
		}
	}
	return ""
}

func labelOf(comment string) string {
	for _, note := range labelNotes {
		if label, ok := strings.CutSuffix(comment, note); ok {
			return label
		}
	}
	return comment
}

// walk follows a packet through the chains of table nat, into every one that chance may choose.
type walk struct {
	chains  chains
	packet  packet
	service *Service
}

// through reports whether every way through a chain ends in a translation.
func (w *walk) through(chain string) bool {
	for _, rule := range w.chains.nat[chain] {
		if !w.chains.matches(rule, w.packet) {
			continue
		}
		switch rule.target {
		case "RETURN":
			return false
		case "", masqMarking, chainMark, chainOutside:
			continue
		case "DNAT":
			w.translated(chain, rule)
			return true
		}
		w.enter(chain, rule)
		if w.through(rule.target) && rule.after("--probability") == "" {
			return true
		}
	}
	return false
}

// enter notes which chain has the service's endpoints: the last one before those of endpoints.
func (w *walk) enter(chain string, rule chainRule) {
	if strings.HasPrefix(rule.target, "KUBE-SVC-") || strings.HasPrefix(rule.target, "KUBE-SVL-") {
		w.service.Chain = rule.target
	}
	if (chain == chainServices || chain == "KUBE-NODEPORTS") && rule.comment != "" && rule.target != "KUBE-NODEPORTS" {
		w.service.Label = labelOf(rule.comment)
	}
}

func (w *walk) translated(chain string, rule chainRule) {
	to, err := netip.ParseAddrPort(rule.after("--to-destination"))
	known := func(t Target) bool { return t.Address == to.String() }
	if err == nil && !slices.ContainsFunc(w.service.targets, known) {
		w.service.targets = append(w.service.targets, Target{Address: to.String(), Chain: chain, addr: to.Addr()})
	}
}
