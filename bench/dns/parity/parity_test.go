// SPDX-License-Identifier: Apache-2.0

package parity

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	mdns "github.com/miekg/dns"
)

const questions = 10_000

// TestAnswersEqualCoreDNS asks both servers a generated stream of questions about generated clusters. Code, answer and
// additional records must be the same, but for the differences that are listed in docs/dns.md.
func TestAnswersEqualCoreDNS(t *testing.T) {
	for seed, mode := range []string{"insecure", "verified", "disabled", "verified", "insecure"} {
		t.Run(fmt.Sprint(mode, seed), func(t *testing.T) {
			w := newWorld(uint64(seed))
			api := w.serve(t)
			upstream := startUpstream(t)
			core, ours := startCoreDNS(t, api, upstream, mode), startOurs(t, api, upstream, mode)
			reasons := map[string]int{}
			for range questions {
				q := w.ask()
				want, got := core.ask(t, q), ours.ask(t, q)
				if equal(want, got) {
					continue
				}
				if reason := deliberate(q, want, got); reason != "" {
					reasons[reason]++
					continue
				}
				t.Errorf("%s %s:\nCoreDNS: %s\n   ours: %s", q.name, mdns.TypeToString[q.qtype], text(want), text(got))
			}
			t.Logf("%d questions; deliberate differences: %v", questions, reasons)
		})
	}
}

func equal(a, b *mdns.Msg) bool { return text(a) == text(b) }

// text writes what is compared: order, TTLs and SOA fields are left out.
func text(m *mdns.Msg) string {
	out := []string{mdns.RcodeToString[m.Rcode], "answer", section(m.Answer), "additional", section(m.Extra)}
	return strings.Join(out, " ")
}

func section(records []mdns.RR) string {
	var out []string
	for _, rr := range records {
		switch rr.Header().Rrtype {
		case mdns.TypeOPT, mdns.TypeSOA:
			continue
		}
		rr = mdns.Copy(rr)
		rr.Header().Ttl = 0
		out = append(out, strings.ToLower(strings.ReplaceAll(rr.String(), "\t", " ")))
	}
	slices.Sort(out)
	return "[" + strings.Join(out, "; ") + "]"
}
