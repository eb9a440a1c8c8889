// SPDX-License-Identifier: Apache-2.0

package request

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
)

// Report counts the outcomes of a run of requests. Every request is counted once, in Hosts or in Errors.
type Report struct {
	Target   string         `json:"target"`
	Requests int            `json:"requests"`
	Hosts    map[string]int `json:"hosts"`             // answers by the answering host's name
	Clients  map[string]int `json:"clients,omitempty"` // answers by the client address (without port) that the host saw
	Errors   map[string]int `json:"errors,omitempty"`  // failures by reason
}

func newReport(c Config) *Report {
	return &Report{Target: c.Target, Hosts: map[string]int{}, Clients: map[string]int{}, Errors: map[string]int{}}
}

// Failed returns the number of requests without an answer.
func (r *Report) Failed() int {
	n := 0
	for _, count := range r.Errors {
		n += count
	}
	return n
}

func (r *Report) count(host, client string, err error) {
	r.Requests++
	if err != nil {
		r.Errors[reason(err)]++
		return
	}
	r.Hosts[host]++
	if address, _, err := net.SplitHostPort(client); err == nil {
		r.Clients[address]++
	}
}

// String prints a line for each host and each error, the most frequent first.
func (r *Report) String() string {
	var out strings.Builder
	fmt.Fprintf(&out, "%d requests to %s: %d answered, %d failed\n", r.Requests, r.Target, r.Requests-r.Failed(), r.Failed())
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	for _, host := range byCount(r.Hosts) {
		fmt.Fprintf(w, "%d\t%s\n", r.Hosts[host], host)
	}
	for _, text := range byCount(r.Errors) {
		fmt.Fprintf(w, "%d\terror: %s\n", r.Errors[text], text)
	}
	w.Flush()
	return out.String()
}

func byCount(counts map[string]int) []string {
	return slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b))
	})
}

// reason is an error without what differs from one request to the next (the client's port), so that equal failures count
// together.
func reason(err error) string {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	var op *net.OpError
	if !errors.As(err, &op) {
		if errors.Is(err, os.ErrDeadlineExceeded) || isTimeout(err) {
			return "timed out"
		}
		return err.Error()
	}
	text := op.Op
	if op.Addr != nil {
		text += " " + op.Addr.String()
	}
	var call *os.SyscallError
	switch {
	case op.Timeout():
		return text + ": timed out"
	case errors.As(op.Err, &call):
		return text + ": " + call.Err.Error()
	}
	return text + ": " + op.Err.Error()
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}
