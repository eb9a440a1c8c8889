// SPDX-License-Identifier: Apache-2.0

package forward

import (
	"slices"
	"strings"

	mdns "github.com/miekg/dns"
)

// scrub takes out of a response what the question did not ask for, so that a lying server cannot speak about other
// names: of the answer stays the chain of aliases from the name asked for and the records at its end; of the authority
// section only the proof of a negative answer; nothing of the rest.
func scrub(q, r *mdns.Msg) {
	dnssec := q.IsEdns0() != nil && q.IsEdns0().Do()
	qtype := q.Question[0].Qtype
	chain := chainOf(q.Question[0].Name, r.Answer)
	r.Answer = slices.DeleteFunc(r.Answer, func(rr mdns.RR) bool {
		h := rr.Header()
		switch h.Rrtype {
		case mdns.TypeCNAME, qtype:
		case mdns.TypeDNAME:
			return !dnssec // the server sends the CNAME that it stands for as well
		case mdns.TypeRRSIG:
			if !dnssec {
				return true
			}
		default:
			if qtype != mdns.TypeANY {
				return true
			}
		}
		return !chain[strings.ToLower(h.Name)]
	})
	negative := r.Rcode == mdns.RcodeNameError || !slices.ContainsFunc(r.Answer, func(rr mdns.RR) bool {
		return rr.Header().Rrtype == qtype
	})
	r.Ns = slices.DeleteFunc(r.Ns, func(rr mdns.RR) bool { return !negative || !proof(rr, dnssec) })
	r.Extra = nil
	r.Question = []mdns.Question{q.Question[0]}
}

// proof reports whether a record of the authority section belongs to a negative answer.
func proof(rr mdns.RR, dnssec bool) bool {
	switch rr.Header().Rrtype {
	case mdns.TypeSOA:
		return true
	case mdns.TypeNSEC, mdns.TypeNSEC3, mdns.TypeRRSIG:
		return dnssec
	}
	return false
}

// chainOf returns the names that aliases lead to from a name, itself included, in lower case. Servers need not send
// aliases in order, so the records are gone through until nothing is added.
func chainOf(name string, answer []mdns.RR) map[string]bool {
	chain := map[string]bool{strings.ToLower(name): true}
	for range answer {
		size := len(chain)
		for _, rr := range answer {
			if alias, ok := rr.(*mdns.CNAME); ok && chain[strings.ToLower(alias.Hdr.Name)] {
				chain[strings.ToLower(alias.Target)] = true
			}
		}
		if len(chain) == size {
			break
		}
	}
	return chain
}
