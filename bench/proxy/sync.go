// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// sync measures one proxy.
func (o options) sync(p peer, services int) error {
	l, err := newLab("sync")
	if err != nil {
		return err
	}
	defer o.undo.later(l.remove)()
	lock, err := l.watchLock()
	if err != nil {
		return err
	}
	a := newAPI(services, o.endpoints, "")
	r, err := o.run(p, l, a)
	if err != nil {
		return err
	}
	defer o.undo.later(r.stop)()
	whole, work, err := r.synced()
	if err != nil {
		return err
	}
	o.print(p, services, "full sync %8.2f s of its own, %8.2f s since its start; longest hold of the netfilter lock %.1f ms", work.Seconds(), whole.Seconds(), ms(lock()))
	n, err := l.listen()
	if err != nil {
		return err
	}
	time.Sleep(3 * time.Second)
	if err := o.single(p, services, a, n); err != nil {
		return err
	}
	if err := o.rest(p, services, r); err != nil {
		return err
	}
	return o.again(p, services, r, n)
}

func (o options) print(p peer, services int, format string, args ...any) {
	fmt.Printf("%-20s %6d x %-3d  %s\n", p.name, services, o.endpoints, fmt.Sprintf(format, args...))
}

// single adds and removes one endpoint at a time.
func (o options) single(p peer, services int, a *api, n news) error {
	var took []time.Duration
	for i := range o.changes {
		n.drain()
		begin := time.Now()
		a.change((i/2*37)%services, i%2 == 0)
		end, err := n.next()
		if err != nil {
			return err
		}
		took = append(took, end.Sub(begin))
		if strings.HasPrefix(p.name, "kube-proxy") {
			time.Sleep(1500 * time.Millisecond) // it runs at most once a second
		}
	}
	if len(took) > 0 {
		o.print(p, services, "one endpoint: %s, %d changes", spread(took), len(took))
	}
	return nil
}

func spread(took []time.Duration) string {
	slices.Sort(took)
	return fmt.Sprintf("median %8.2f ms, %.2f to %.2f ms, p99 %.2f ms", ms(took[len(took)/2]), ms(took[0]), ms(took[len(took)-1]), ms(took[min(len(took)-1, len(took)*99/100)]))
}

// rest prints memory and what an idle proxy uses.
func (o options) rest(p peer, services int, r *running) error {
	before, err := r.cpu()
	if err != nil {
		return err
	}
	const idle = 10 * time.Second
	time.Sleep(idle)
	after, err := r.cpu()
	if err != nil {
		return err
	}
	rss, pss, err := r.mib()
	o.print(p, services, "resident %d MiB, proportional %d MiB; idle %.1f %% of a core", rss, pss, 100*(after-before).Seconds()/idle.Seconds())
	return err
}

// again ends the proxy and starts it with everything in place: killed, without what it left for the next start, and then, where it leaves
// something, ended as a service manager does.
func (o options) again(p peer, services int, r *running, n news) error {
	r.stop()
	os.RemoveAll(r.lab.runDir())
	next, stop, err := o.next(p, services, r, n, "killed")
	if err != nil {
		return err
	}
	defer stop()
	if !strings.HasPrefix(p.name, "eastwest") {
		return nil
	}
	next.end(unix.SIGTERM)
	_, stop, err = o.next(p, services, next, n, "ended")
	if err == nil {
		stop()
	}
	return err
}

// next starts the proxy after another one, and prints how that was.
func (o options) next(p peer, services int, last *running, n news, end string) (r *running, stop func(), err error) {
	n.drain()
	if r, err = p.start(last.lab, last.server); err != nil {
		return nil, nil, err
	}
	stop = o.undo.later(r.stop)
	defer func() {
		if err != nil {
			stop()
		}
	}()
	whole, _, err := r.synced()
	if err != nil {
		return nil, nil, err
	}
	used, err := r.cpu()
	if err != nil {
		return nil, nil, err
	}
	time.Sleep(2 * time.Second)
	o.print(p, services, "restart of one that was %s: %.2f s since its start, %.2f s of a processor, %s", end, whole.Seconds(), used.Seconds(), n.written())
	return r, stop, nil
}

func (o options) run(p peer, l *lab, a *api) (r *running, err error) {
	var server string
	var stop func()
	err = inside(l.node, func() (err error) {
		server, stop, err = a.serve()
		return err
	})
	if err != nil {
		return nil, err
	}
	if r, err = p.start(l, server); err == nil {
		r.api = stop
	}
	return r, err
}
