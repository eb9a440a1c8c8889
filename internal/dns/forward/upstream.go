// SPDX-License-Identifier: Apache-2.0

package forward

import (
	"context"
	"crypto/x509"
	"errors"
	"sync"
	"time"
)

// failuresUntilDown is how many questions in a row a server may fail before it is set aside.
const failuresUntilDown = 2

// upstream is one server, and what we know about its health.
type upstream struct {
	server Server
	secure *secure // nil without TLS
	lines  lines   // without TLS
	watch  *watch

	mu       sync.Mutex
	rtt      time.Duration // smoothed; 0 while unknown
	failures int           // in a row
	looping  bool          // it forwards to us
}

func newUpstream(server Server, roots *x509.CertPool, running bool, watch *watch) *upstream {
	u := &upstream{server: server, lines: lines{server: server.Addr, keep: running}, watch: watch}
	if server.TLS {
		u.secure = newSecure(server, roots)
	}
	return u
}

// close closes what is kept for the next question.
func (u *upstream) close() {
	u.lines.stop()
	if u.secure != nil {
		u.secure.close()
	}
}

// learn is told how a question went.
func (u *upstream) learn(took time.Duration, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case err == nil:
		u.failures = 0
		u.smooth(took)
	case errors.Is(err, context.Canceled): // another server was faster
	default:
		u.failures++
		u.smooth(max(took, time.Second))
	}
}

// late is told that an answer takes longer than it ought to.
func (u *upstream) late(took time.Duration) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.failures++
	u.smooth(took)
}

// smooth takes a round-trip time into the smoothed one as TCP does (RFC 6298).
func (u *upstream) smooth(took time.Duration) {
	if u.rtt == 0 {
		u.rtt = took
		return
	}
	u.rtt += (took - u.rtt) / 8
}

// patience is how long to wait for this server before another one is asked as well.
func (u *upstream) patience() time.Duration {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.patienceLocked()
}

func (u *upstream) patienceLocked() time.Duration {
	if u.failures >= failuresUntilDown {
		return 100 * time.Millisecond
	}
	if u.rtt == 0 {
		return 400 * time.Millisecond
	}
	return min(max(4*u.rtt, 150*time.Millisecond), 800*time.Millisecond)
}

func (u *upstream) down() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.failures >= failuresUntilDown
}

func (u *upstream) isLooping() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.looping
}

func (u *upstream) setLooping(looping bool) (changed bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	changed = u.looping != looping
	u.looping = looping
	return changed
}

// rank orders servers: what is up before what is down, then by speed. What was never asked comes first, so that it is
// known soon.
func (u *upstream) rank() (down bool, rtt time.Duration) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.failures >= failuresUntilDown, u.rtt
}

// forget brings the time of a server that was not chosen a little nearer to nothing, so that it gets another chance.
func (u *upstream) forget() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.rtt > time.Millisecond {
		u.rtt -= u.rtt / 16
	}
}
