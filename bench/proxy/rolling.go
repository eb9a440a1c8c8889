// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// rolling replaces endpoints one after the other at an even pace, those of all services in turn, and tells how far the kernel is
// behind.
func (o options) rolling(p peer, services int) error {
	l, err := newLab("rolling")
	if err != nil {
		return err
	}
	defer o.undo.later(l.remove)()
	a := newAPI(services, o.endpoints, "")
	r, err := o.run(p, l, a)
	if err != nil {
		return err
	}
	defer o.undo.later(r.stop)()
	if _, _, err := r.synced(); err != nil {
		return err
	}
	time.Sleep(3 * time.Second)
	n, err := l.listen()
	if err != nil {
		return err
	}
	seen := &sightings{at: make([]time.Time, o.replaced)}
	stop := seen.follow(n)
	before, err := r.cpu()
	if err != nil {
		return err
	}
	sent, pause, begin := make([]time.Time, o.replaced), o.within/time.Duration(o.replaced), time.Now()
	for i := range o.replaced {
		time.Sleep(time.Until(begin.Add(time.Duration(i) * pause)))
		sent[i] = time.Now()
		a.replace(i%services, i/services%o.endpoints, replacement(i))
	}
	took := time.Since(begin)
	last := min(o.replaced, services*o.endpoints) // so many are not replaced once more
	all := seen.wait(o.replaced-last, patience)
	after, err := r.cpu()
	stop()
	if err != nil {
		return err
	}
	behind := seen.behind(sent, services*o.endpoints)
	text := "never came: the kernel told of none"
	if len(behind) > 0 {
		text = spread(behind)
	}
	if !all {
		text += fmt.Sprintf("; %d of %d not seen %s later", o.replaced-len(behind), o.replaced, patience)
	}
	o.print(p, services, "%d endpoints replaced in %.1f s: behind by %s; %.0f %% of a core", o.replaced, took.Seconds(), text, 100*(after-before).Seconds()/took.Seconds())
	return nil
}

const patience = 2 * time.Minute // for a proxy to come to the end

// replacement returns an address by which a change is known again.
func replacement(i int) string { return fmt.Sprintf("10.250.%d.%d", i/250, i%250+1) }

// sightings is when the kernel told of each replacement first.
type sightings struct {
	mu sync.Mutex
	at []time.Time
}

// follow reads news until the function that it returns is called.
func (s *sightings) follow(n news) (stop func()) {
	ended, done := make(chan bool), make(chan bool)
	go func() {
		defer close(done)
		buffer := make([]byte, 1<<20)
		var pending []int // told of in a transaction that has not ended
		wait := unix.NsecToTimeval(int64(quiet))
		unix.SetsockoptTimeval(int(n), unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait)
		for {
			select {
			case <-ended:
				return
			default:
			}
			size, _, err := unix.Recvfrom(int(n), buffer, 0)
			if err != nil && !errors.Is(err, unix.ENOBUFS) {
				continue
			}
			for m := range messages(buffer[:max(size, 0)]) {
				if m.kind != newGen {
					pending = append(pending, found(m.data)...)
					continue
				}
				s.mark(pending)
				pending = pending[:0]
			}
		}
	}()
	return func() { close(ended); <-done }
}

func (s *sightings) mark(list []int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, i := range list {
		if i >= 0 && i < len(s.at) && s.at[i].IsZero() {
			s.at[i] = time.Now()
		}
	}
}

// found returns the replacements whose addresses are in a message: as elements and rules have them, or in the name of a chain.
func found(data []byte) (list []int) {
	for at := 0; at+4 <= len(data); at += 4 {
		if data[at] == 10 && data[at+1] == 250 {
			list = append(list, int(data[at+2])*250+int(data[at+3])-1)
		}
	}
	text := []byte("10.250.")
	for {
		_, rest, ok := bytes.Cut(data, text)
		if !ok {
			return list
		}
		var high, low int
		if count, _ := fmt.Sscanf(string(rest[:min(len(rest), 7)]), "%d.%d", &high, &low); count == 2 {
			list = append(list, high*250+low-1)
		}
		data = rest
	}
}

// wait waits until everything from the first on was seen.
func (s *sightings) wait(first int, atMost time.Duration) bool {
	for end := time.Now().Add(atMost); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		s.mu.Lock()
		missing := false
		for _, at := range s.at[first:] {
			missing = missing || at.IsZero()
		}
		s.mu.Unlock()
		if !missing {
			return true
		}
	}
	return false
}

// behind returns how much later than it was sent each change was in the kernel, itself or one after it to the same endpoint, of
// which there are so many.
func (s *sightings) behind(sent []time.Time, endpoints int) (out []time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	latest := map[int]time.Time{}
	for i := len(sent) - 1; i >= 0; i-- {
		at := s.at[i]
		if next := latest[i%endpoints]; at.IsZero() || !next.IsZero() && next.Before(at) {
			at = next
		}
		if at.IsZero() {
			continue
		}
		latest[i%endpoints] = at
		out = append(out, at.Sub(sent[i]))
	}
	return out
}
