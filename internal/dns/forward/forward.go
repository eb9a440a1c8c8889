// SPDX-License-Identifier: Apache-2.0

// Package forward asks other DNS servers.
//
// A question goes to the server that was fastest lately; if it fails, or says nothing for a while, to the next one as
// well, and the first good response wins. Servers that fail are set aside and tried in the background until they answer.
// Every question has a random id and a source port of its own, and a response must repeat the question.
package forward

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	mdns "github.com/miekg/dns"
)

// ErrNoUpstream says that there is no server to ask.
var ErrNoUpstream = errors.New("no upstream dns server: name one in resolv.conf")

// Config says which servers to ask. The zero value of a field means its default.
type Config struct {
	Upstreams  []Server                // given servers; where there are none, those of ResolvConf
	ResolvConf string                  // path of a resolv.conf, whose search path counts in any case; read again when it changes; empty for none
	Self       func() []netip.AddrPort // addresses that we serve on ourselves: never asked
	Policy     Policy                  // in which order they are asked; default Fastest
	Roots      *x509.CertPool          // who may vouch for servers that are asked over TLS; nil for those that the machine trusts
	Timeout    time.Duration           // for one question, all servers together; default 4 s
	Log        *slog.Logger            // default: nothing is logged
}

// Forwarder asks upstream servers. Use Run for what goes on in the background; without it questions are answered all the
// same, but changes of resolv.conf and recovered servers go unnoticed.
type Forwarder struct {
	cfg       Config
	upstreams atomic.Pointer[[]*upstream]
	search    atomic.Pointer[[]string]
	policy    atomic.Pointer[Policy]
	turn      atomic.Uint32 // of the policy Rotating

	watch   watch      // over questions under way
	mu      sync.Mutex // reload
	seen    fileState
	running bool
	probes  sync.Map // name of a loop probe that is under way → *atomic.Bool, true once it came back to us
}

// New returns a forwarder that has read its resolv.conf once. A resolv.conf that is not there is no error: there may be
// one later.
func New(cfg Config) *Forwarder {
	if cfg.Timeout <= 0 {
		cfg.Timeout = 4 * time.Second
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	f := &Forwarder{cfg: cfg}
	f.policy.Store(&cfg.Policy)
	f.upstreams.Store(&[]*upstream{})
	f.reload()
	return f
}

// maxAsked is how often one question is sent, to all servers together.
const maxAsked = 6

// Exchange asks m's question and returns the first good response (NOERROR or NXDOMAIN), or the last bad one when every
// server was asked. The response is scrubbed: it holds nothing that was not asked for, and no OPT record. m must have
// exactly one question; its id is not used.
func (f *Forwarder) Exchange(ctx context.Context, m *mdns.Msg) (*mdns.Msg, error) {
	done := make(chan result, 1)
	f.Start(ctx, m, func(m *mdns.Msg, err error) { done <- result{m, err} })
	r := <-done
	return r.m, r.err
}

// Start is Exchange for who does not wait: then is called, once, with what comes of it, in the goroutine that reads the
// response; it must not wait for anything.
func (f *Forwarder) Start(ctx context.Context, m *mdns.Msg, then func(*mdns.Msg, error)) {
	servers := f.order()
	if len(servers) == 0 {
		then(nil, ErrNoUpstream)
		return
	}
	a := &attempt{
		ctx: WithDue(ctx, f.cfg.Timeout), m: m, then: then, servers: servers,
		left: max(3, min(2*len(servers), maxAsked)), results: make(chan result, maxAsked),
	}
	if *f.policy.Load() == Parallel {
		a.atOnce = maxAsked
		go func() { then(a.askMore(result{})) }()
		return
	}
	a.next, a.left = 1, a.left-1
	a.begun = &asked{ctx: a.ctx, q: m, then: a.first, late: a.late}
	servers[0].start(a.begun)
}

// attempt is one question on its way to several servers.
type attempt struct {
	ctx     context.Context
	m       *mdns.Msg
	then    func(*mdns.Msg, error)
	begun   *asked      // the first question
	decided atomic.Bool // the first server has answered, or others are asked as well
	servers []*upstream
	next    int // server to ask next
	left    int // questions that may still be sent
	atOnce  int // questions to begin with
	flying  int
	results chan result
}

type result struct {
	m   *mdns.Msg
	err error
}

// first is told what became of the first question. As long as nobody else is asked, nothing runs beside.
func (a *attempt) first(m *mdns.Msg, err error) {
	switch {
	case !a.decided.CompareAndSwap(false, true):
		a.results <- result{m, err} // others are asked as well
	case err == nil && good(m):
		a.then(m, nil)
	default:
		go func() { a.then(a.askMore(result{m, err})) }()
	}
}

// late asks others as well, while the first server says nothing.
func (a *attempt) late() {
	if a.decided.CompareAndSwap(false, true) {
		a.flying = 1
		m, err := a.askMore(result{})
		a.begun.given.Store(true)
		a.then(m, err)
	}
}

// askMore asks the servers that were not asked yet, and knows the last response of those that were.
func (a *attempt) askMore(last result) (*mdns.Msg, error) {
	if a.left <= 0 || a.next >= len(a.servers) && last.m != nil {
		return last.m, last.err
	}
	end, _ := a.ctx.Deadline()
	ctx, cancel := context.WithDeadline(a.ctx, end)
	defer cancel()
	wait := a.ask(ctx)
	for a.atOnce > 1 && a.next < len(a.servers) && a.left > 0 {
		a.atOnce--
		wait = a.ask(ctx)
	}
	patience := time.NewTimer(wait)
	defer patience.Stop()
	for {
		select {
		case r := <-a.results:
			a.flying--
			if r.err == nil && good(r.m) {
				return r.m, nil
			}
			if r.err == nil || last.m == nil {
				last = r
			}
			if a.left > 0 && a.next < len(a.servers) || a.left > 0 && last.m == nil {
				patience.Reset(a.ask(ctx))
			} else if a.flying == 0 {
				return last.m, last.err
			}
		case <-patience.C:
			if a.left > 0 {
				patience.Reset(a.ask(ctx))
			}
		case <-ctx.Done():
			if last.m != nil {
				return last.m, nil
			}
			return nil, errors.Join(fmt.Errorf("ask upstream about %s: %w", a.m.Question[0].Name, ctx.Err()), last.err)
		}
	}
}

// ask sends the question to the next server and says how long to wait before asking another as well.
func (a *attempt) ask(ctx context.Context) time.Duration {
	u := a.servers[a.next%len(a.servers)]
	a.next, a.left, a.flying = a.next+1, a.left-1, a.flying+1
	u.start(&asked{ctx: ctx, q: a.m, then: func(m *mdns.Msg, err error) { a.results <- result{m, err} }})
	return u.patience()
}

func good(m *mdns.Msg) bool {
	return m.Rcode == mdns.RcodeSuccess || m.Rcode == mdns.RcodeNameError
}

// SetUpstreams puts other given servers in the place of Config.Upstreams, and another policy in that of Config.Policy. Servers
// that stay keep what is known about them.
func (f *Forwarder) SetUpstreams(servers []Server, policy Policy) {
	f.mu.Lock()
	f.cfg.Upstreams, f.seen = servers, fileState{}
	f.policy.Store(&policy)
	f.mu.Unlock()
	f.reload()
}
