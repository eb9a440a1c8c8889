// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"eastwest/internal/dns/wire"
)

// source says where an answer came from, under the name of CoreDNS's plugin that does the same.
type source uint8

const (
	fromNobody  source = iota // refused, malformed
	fromZone                  // kubernetes
	fromCached                // cache
	fromForward               // forward
	sources
)

func (s source) String() string {
	return [...]string{"", "kubernetes", "cache", "forward"}[s]
}

// Types of queries that are counted by themselves; all others are one.
const countedTypes = 12

var typeNames = [countedTypes]string{"other", "A", "NS", "CNAME", "SOA", "PTR", "MX", "TXT", "AAAA", "SRV", "HTTPS", "ANY"}

func typeIndex(qtype uint16) int {
	switch qtype {
	case wire.TypeA:
		return 1
	case wire.TypeNS:
		return 2
	case wire.TypeCNAME:
		return 3
	case wire.TypeSOA:
		return 4
	case wire.TypePTR:
		return 5
	case wire.TypeMX:
		return 6
	case wire.TypeTXT:
		return 7
	case wire.TypeAAAA:
		return 8
	case wire.TypeSRV:
		return 9
	case wire.TypeHTTPS:
		return 10
	case wire.TypeANY:
		return 11
	}
	return 0
}

// countedRcodes is one more than the highest code that we answer with.
const countedRcodes = wire.BadVers + 1

// counters count queries and answers. A socket's goroutine has its own, so that counting one query costs a few
// nanoseconds; reading adds all of them up.
type counters struct {
	requests  [2][2][countedTypes]atomic.Uint64 // by transport (UDP, TCP), family and type
	responses [sources][countedRcodes]atomic.Uint64
	misses    atomic.Uint64 // of the cache, by those who had to wait
	stale     atomic.Uint64
	prefetch  atomic.Uint64
	rejected  atomic.Uint64 // queries that found no place to wait
	dropped   atomic.Uint64 // queries of a client that floods

	durations [countedDurations + 1]atomic.Uint64 // answers by how long they took; the last is longer than all buckets
	duration  atomic.Uint64                       // of all answers together, in nanoseconds
}

// durationBuckets are the upper bounds of the buckets that durations are counted in, in seconds: CoreDNS's.
var durationBuckets = prometheus.ExponentialBuckets(0.00025, 2, countedDurations)

const countedDurations = 16

// took counts how long n answers took.
func (c *counters) took(d time.Duration, n int) {
	at := 0
	for seconds := d.Seconds(); at < countedDurations && seconds > durationBuckets[at]; at++ {
	}
	c.durations[at].Add(uint64(n))
	c.duration.Add(uint64(n) * uint64(max(d, 0)))
}

func (c *counters) request(udp bool, client netip.Addr, qtype uint16) {
	transport, family := 1, 1
	if udp {
		transport = 0
	}
	if client.Is4() {
		family = 0
	}
	c.requests[transport][family][typeIndex(qtype)].Add(1)
}

func (c *counters) response(from source, rcode uint16) {
	if rcode < countedRcodes {
		c.responses[from][rcode].Add(1)
	}
}
