// SPDX-License-Identifier: Apache-2.0

package parity

import (
	"strings"

	mdns "github.com/miekg/dns"
)

// deliberate returns why the answers to a question differ where that is meant to be, in the words of docs/dns.md; empty
// where it is not.
func deliberate(q question, core, ours *mdns.Msg) string {
	labels := mdns.SplitDomainName(strings.ToLower(q.name))
	switch {
	case isAlias(ours):
		return aliasReason(q, core, ours)
	case len(labels) == 2 && q.qtype == mdns.TypeNS:
		return "NS of the domain: CoreDNS adds the addresses of the machine's interfaces"
	case q.qtype == mdns.TypeSRV && text(unweighted(core)) == text(unweighted(ours)):
		return "weights where one endpoint is in two slices"
	case len(core.Answer) == 0 && q.qtype == mdns.TypeANY && ours.Rcode == mdns.RcodeSuccess:
		return "ANY is answered with one kind of records"
	case noData(core) && q.qtype == mdns.TypeSOA && ours.Rcode == mdns.RcodeNameError:
		return "SOA at a name that does not exist"
	case core.Rcode == mdns.RcodeNameError && noData(ours):
		return existsReason(q, labels)
	case ours.Rcode == mdns.RcodeNameError && core.Rcode == mdns.RcodeSuccess:
		return strayReason(labels)
	case q.qtype == mdns.TypeSRV && below(labels, "pod") && noData(ours):
		return "SRV at the name of a pod"
	}
	return ""
}

func unweighted(m *mdns.Msg) *mdns.Msg {
	m = m.Copy()
	for _, rr := range m.Answer {
		if srv, ok := rr.(*mdns.SRV); ok {
			srv.Weight = 0
		}
	}
	return m
}

func noData(m *mdns.Msg) bool { return m.Rcode == mdns.RcodeSuccess && len(m.Answer) == 0 }

func isAlias(m *mdns.Msg) bool {
	return m.Rcode == mdns.RcodeServerFailure || len(m.Answer) > 0 && m.Answer[0].Header().Rrtype == mdns.TypeCNAME
}

func below(labels []string, kind string) bool {
	return len(labels) > 3 && labels[len(labels)-3] == kind
}

func aliasReason(q question, core, ours *mdns.Msg) string {
	switch {
	case ours.Rcode == mdns.RcodeServerFailure && core.Rcode == mdns.RcodeSuccess:
		return "alias whose target cannot be looked up"
	case ours.Rcode == mdns.RcodeNameError && core.Rcode == mdns.RcodeSuccess:
		return "alias whose target does not exist"
	case noData(core) && ours.Rcode == mdns.RcodeSuccess && q.qtype != mdns.TypeA && q.qtype != mdns.TypeAAAA && q.qtype != mdns.TypeCNAME:
		return "alias, types other than A, AAAA and CNAME"
	case noData(core) && ours.Rcode == mdns.RcodeSuccess && ours.Answer[len(ours.Answer)-1].Header().Rrtype == mdns.TypeCNAME:
		return "alias whose target has no such address"
	}
	return ""
}

// existsReason is about names where CoreDNS says NXDOMAIN and there is only no data.
func existsReason(q question, labels []string) string {
	n := len(labels)
	switch {
	case labels[n-1] == "arpa":
		return "other types at an address"
	case n == 3 && (labels[0] == "dns" || labels[0] == "dns-version"), n == 4 && labels[1] == "dns":
		return "names that exist for other types"
	case q.qtype == mdns.TypeTXT && (below(labels, "svc") || below(labels, "pod") || n <= 3):
		return "TXT at a name that exists"
	case below(labels, "svc") && strings.HasPrefix(labels[0], "_"):
		return "the name between a service and its ports"
	}
	return ""
}

// strayReason is about names that the specification does not have.
func strayReason(labels []string) string {
	switch {
	case below(labels, "pod") && len(labels) > 5:
		return "names below a pod's"
	case below(labels, "svc") && len(labels) == 7 && (!port(labels[0]) || !port(labels[1])):
		return "ports without underscores"
	case labels[len(labels)-1] == "arpa":
		return "other types at an address that nobody has"
	}
	return ""
}

func port(label string) bool { return len(label) > 1 && label[0] == '_' }
