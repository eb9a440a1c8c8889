// SPDX-License-Identifier: Apache-2.0

package resolve

import (
	"cmp"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/miekg/dns"
)

// Answer is the outcome of a query and every step on the way.
type Answer struct {
	Name    string   `json:"name"`
	Type    string   `json:"type"`
	Server  string   `json:"server"`           // asked last, address:port
	Search  []string `json:"search,omitempty"` // the configured search path
	Status  string   `json:"status,omitempty"` // of the last try, as in Try
	Tried   []Try    `json:"tried"`
	Records []Record `json:"records"` // of the name that had some
}

// Try is one full name, asked of one server.
type Try struct {
	Name    string   `json:"name"`
	Server  string   `json:"server"`
	Status  string   `json:"status,omitempty"` // NOERROR, NXDOMAIN, SERVFAIL, …
	Error   string   `json:"error,omitempty"`  // why there was no answer
	Records []Record `json:"records,omitempty"`
}

// Record is one resource record of an answer section.
type Record struct {
	Name string `json:"name"`
	TTL  uint32 `json:"ttl"` // seconds
	Type string `json:"type"`
	Data string `json:"data"` // as in a zone file
}

func recordOf(rr dns.RR) Record {
	h := rr.Header()
	data := strings.TrimPrefix(rr.String(), h.String())
	return Record{Name: h.Name, TTL: h.Ttl, Type: dns.TypeToString[h.Rrtype], Data: data}
}

// Addresses returns the data of the A and AAAA records.
func (a *Answer) Addresses() []string {
	var out []string
	for _, r := range a.Records {
		if r.Type == "A" || r.Type == "AAAA" {
			out = append(out, r.Data)
		}
	}
	return out
}

// String prints the names that were tried and the records.
func (a *Answer) String() string {
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	for _, try := range a.Tried {
		fmt.Fprintf(w, "asked %s\tfor %s %s\t%s\n", try.Server, try.Name, a.Type, outcome(try))
	}
	w.Flush()
	for _, r := range a.Records {
		fmt.Fprintf(w, "%s\t%d\tIN\t%s\t%s\n", r.Name, r.TTL, r.Type, r.Data)
	}
	w.Flush()
	return out.String()
}

func outcome(t Try) string {
	if t.Status == "NOERROR" && len(t.Records) == 0 {
		return "NOERROR, no records of this type"
	}
	return cmp.Or(t.Error, t.Status)
}
