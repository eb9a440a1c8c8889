// SPDX-License-Identifier: Apache-2.0

package forward

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	mdns "github.com/miekg/dns"
)

// How often things are looked at in the background.
const (
	checkEvery = time.Second
	loopEvery  = 30 // checks
)

// Run reads resolv.conf again when it changes, asks servers that failed until they answer, and finds loops. It returns
// when ctx is done.
func (f *Forwarder) Run(ctx context.Context) error {
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	f.setRunning(true)
	defer f.setRunning(false)
	f.findLoops(ctx)
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		changed := f.reload()
		f.retryDown(ctx)
		f.forget()
		if changed || n%loopEvery == 0 {
			f.findLoops(ctx)
		}
	}
}

// setRunning says whether anything is kept for the next question.
func (f *Forwarder) setRunning(running bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.running = running
	for _, u := range *f.upstreams.Load() {
		if running {
			u.lines.start()
		} else {
			u.close()
		}
	}
}

// reload reads resolv.conf if it changed. Servers that stay keep what is known about them. A file that went away or
// names no server leaves the last servers in place: it may be half written.
func (f *Forwarder) reload() (changed bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	addrs := slices.Clone(f.cfg.Upstreams)
	if f.cfg.ResolvConf != "" {
		now := stateOf(f.cfg.ResolvConf)
		if now == f.seen && now.there {
			return false
		}
		more, search, err := readFile(f.cfg.ResolvConf)
		if err == nil {
			f.search.Store(&search)
		}
		if err != nil && f.seen != now {
			f.cfg.Log.Warn("resolv.conf cannot be read, last servers stay", "path", f.cfg.ResolvConf, "err", err)
		}
		f.seen = now
		if len(addrs) == 0 {
			addrs = Plain(more...)
		}
	}
	old := *f.upstreams.Load()
	if len(addrs) == 0 && len(old) > 0 {
		return false
	}
	next := f.keep(old, addrs)
	if slices.Equal(next, old) {
		return false
	}
	f.upstreams.Store(&next)
	for _, u := range old {
		if !slices.Contains(next, u) {
			u.close()
		}
	}
	f.cfg.Log.Info("dns upstreams", "servers", addrs)
	return true
}

// keep returns the servers of addrs, without ourselves and without doubles, the known ones as they are.
func (f *Forwarder) keep(old []*upstream, servers []Server) []*upstream {
	var self []netip.AddrPort
	if f.cfg.Self != nil {
		self = f.cfg.Self()
	}
	var next []*upstream
	for _, server := range servers {
		same := func(u *upstream) bool { return u.server == server }
		if slices.Contains(self, server.Addr) || slices.ContainsFunc(next, same) {
			continue
		}
		if i := slices.IndexFunc(old, same); i >= 0 {
			next = append(next, old[i])
			continue
		}
		next = append(next, newUpstream(server, f.cfg.Roots, f.running, &f.watch))
	}
	return next
}

// retryDown asks every server that is set aside for the root's nameservers, which every resolver knows.
func (f *Forwarder) retryDown(ctx context.Context) {
	f.each(func(u *upstream) {
		if !u.down() {
			return
		}
		m := new(mdns.Msg).SetQuestion(".", mdns.TypeNS)
		if _, err := u.exchange(ctx, m, false); err == nil {
			f.cfg.Log.Info("dns upstream answers again", "server", u.server)
		}
	})
}

// findLoops asks every server about a name that exists nowhere. If that question comes back to us (Probe), the server
// forwards to us, and asking it could only go round in circles.
func (f *Forwarder) findLoops(ctx context.Context) {
	f.each(func(u *upstream) {
		name := fmt.Sprintf("%d.%d.", rand.Uint64(), rand.Uint64())
		back := new(atomic.Bool)
		f.probes.Store(name, back)
		_, err := u.exchange(ctx, new(mdns.Msg).SetQuestion(name, mdns.TypeHINFO), true)
		f.probes.Delete(name)
		switch {
		case back.Load():
			if u.setLooping(true) {
				f.cfg.Log.Error("dns upstream forwards to us: it is not asked any more", "server", u.server)
			}
		case err == nil && u.setLooping(false):
			f.cfg.Log.Info("dns upstream no longer forwards to us", "server", u.server)
		}
	})
}

// forget gives servers that are not chosen another chance, little by little.
func (f *Forwarder) forget() {
	servers := f.order()
	for _, u := range servers[min(1, len(servers)):] {
		u.forget()
	}
}

// each calls f for every server at once and waits.
func (f *Forwarder) each(do func(*upstream)) {
	var wg sync.WaitGroup
	for _, u := range *f.upstreams.Load() {
		wg.Go(func() { do(u) })
	}
	wg.Wait()
}

// Probe tells the forwarder about a question that was received. It reports whether the question is one of our own loop
// probes; it must then be refused.
func (f *Forwarder) Probe(name string, qtype uint16) bool {
	if qtype != mdns.TypeHINFO {
		return false
	}
	back, ok := f.probes.Load(strings.ToLower(name))
	if ok {
		back.(*atomic.Bool).Store(true)
	}
	return ok
}

// Search returns the search path of the resolv.conf.
func (f *Forwarder) Search() []string {
	if search := f.search.Load(); search != nil {
		return *search
	}
	return nil
}

// Upstreams returns the servers that are asked now, best first.
func (f *Forwarder) Upstreams() []Server {
	var servers []Server
	for _, u := range f.order() {
		servers = append(servers, u.server)
	}
	return servers
}

// States returns every server and whether it answers.
func (f *Forwarder) States() map[Server]bool {
	states := map[Server]bool{}
	for _, u := range *f.upstreams.Load() {
		states[u.server] = !u.down() && !u.isLooping()
	}
	return states
}
