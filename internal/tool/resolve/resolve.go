// SPDX-License-Identifier: Apache-2.0

// Package resolve looks a name up the way a pod's C library does (resolv.conf(5): servers in order, search path, ndots)
// and keeps every step: Query → candidate names → exchanges with servers → Answer.
package resolve

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Query says what to look up. The zero value of everything but Name has a meaning.
type Query struct {
	Name       string
	Type       string        // default A; PTR of an address asks for its reverse name
	Server     string        // address or address:port; default: the servers of ResolvConf, in order
	ResolvConf string        // default /etc/resolv.conf
	Timeout    time.Duration // of one exchange; default 5 s, at most a minute
}

// Resolve runs the query. An error means that it could not be asked; a name that does not exist, or a server that does not
// answer, is part of the answer.
func Resolve(ctx context.Context, q Query) (*Answer, error) {
	kind, ok := dns.StringToType[strings.ToUpper(cmp.Or(q.Type, "A"))]
	if !ok {
		return nil, fmt.Errorf("unknown record type %q", q.Type)
	}
	config, err := dns.ClientConfigFromFile(cmp.Or(q.ResolvConf, "/etc/resolv.conf"))
	if err != nil && q.Server == "" {
		return nil, fmt.Errorf("read the resolver's configuration: %w", err)
	}
	if err != nil {
		config = &dns.ClientConfig{Ndots: 1, Attempts: 1}
	}
	servers, err := serversOf(q, config)
	if err != nil {
		return nil, err
	}
	names, err := candidates(q.Name, kind, config)
	if err != nil {
		return nil, err
	}
	timeout := min(cmp.Or(q.Timeout, 5*time.Second), time.Minute)
	r := resolver{servers: servers, attempts: max(1, config.Attempts), timeout: timeout}
	return r.search(ctx, &Answer{Name: q.Name, Type: dns.TypeToString[kind], Search: config.Search}, names, kind), nil
}

func serversOf(q Query, config *dns.ClientConfig) ([]string, error) {
	if q.Server == "" {
		if len(config.Servers) == 0 {
			return nil, errors.New("the resolver's configuration names no server: give one")
		}
		var servers []string
		for _, server := range config.Servers {
			servers = append(servers, net.JoinHostPort(server, cmp.Or(config.Port, "53")))
		}
		return servers, nil
	}
	if addr, err := netip.ParseAddr(q.Server); err == nil {
		return []string{net.JoinHostPort(addr.String(), "53")}, nil
	}
	if _, err := netip.ParseAddrPort(q.Server); err != nil {
		return nil, fmt.Errorf("server %q is not an address or address:port", q.Server)
	}
	return []string{q.Server}, nil
}

// candidates are the full names to try, in order.
func candidates(name string, kind uint16, config *dns.ClientConfig) ([]string, error) {
	if kind == dns.TypePTR {
		if addr, err := netip.ParseAddr(name); err == nil {
			reverse, err := dns.ReverseAddr(addr.String())
			return []string{reverse}, err
		}
	}
	if _, ok := dns.IsDomainName(name); !ok || name == "" {
		return nil, fmt.Errorf("%q is not a domain name", name)
	}
	return config.NameList(name), nil
}

type resolver struct {
	servers  []string
	attempts int
	timeout  time.Duration
}

// search tries the names until one has records. A server that does not answer at all ends the search, as in the C library:
// the next name would wait for it again.
func (r *resolver) search(ctx context.Context, answer *Answer, names []string, kind uint16) *Answer {
	for _, name := range names {
		try := r.ask(ctx, name, kind)
		answer.Tried = append(answer.Tried, try)
		answer.Server, answer.Status, answer.Records = try.Server, try.Status, try.Records
		if len(try.Records) > 0 || try.Error != "" {
			break
		}
	}
	return answer
}

// ask goes through the servers until one gives an answer that says something about the name.
func (r *resolver) ask(ctx context.Context, name string, kind uint16) Try {
	var last Try
	for range r.attempts {
		for _, server := range r.servers {
			last = r.exchange(ctx, server, name, kind)
			if last.Status == "NOERROR" || last.Status == "NXDOMAIN" || ctx.Err() != nil {
				return last
			}
		}
	}
	return last
}

func (r *resolver) exchange(ctx context.Context, server, name string, kind uint16) Try {
	query := new(dns.Msg).SetQuestion(name, kind).SetEdns0(1232, false)
	try := Try{Name: name, Server: server}
	client := &dns.Client{Timeout: r.timeout}
	reply, _, err := client.ExchangeContext(ctx, query, server)
	if err == nil && reply.Truncated {
		client.Net = "tcp"
		reply, _, err = client.ExchangeContext(ctx, query, server)
	}
	if err != nil {
		try.Error = err.Error()
		var wait net.Error
		if errors.As(err, &wait) && wait.Timeout() {
			try.Error = fmt.Sprintf("no answer within %s", r.timeout)
		}
		return try
	}
	try.Status = dns.RcodeToString[reply.Rcode]
	for _, rr := range reply.Answer {
		try.Records = append(try.Records, recordOf(rr))
	}
	return try
}
