// SPDX-License-Identifier: Apache-2.0

package forward

import (
	"cmp"
	"slices"
)

// Policy says in which order servers are asked. Whatever it says, a server that failed lately comes after all others, and
// another one is asked as well when one takes long.
type Policy string

// The policies.
const (
	Fastest    Policy = "fastest"    // the one that was fastest lately first; the default
	Sequential Policy = "sequential" // in the order in which they are given
	RoundRobin Policy = "roundRobin" // each in turn first
	Parallel   Policy = "parallel"   // all at once: the first good response wins
)

// Policies are all that there are.
var Policies = []Policy{Fastest, Sequential, RoundRobin, Parallel}

// order returns the servers to ask, the one to ask first at the beginning.
func (f *Forwarder) order() []*upstream {
	servers := slices.DeleteFunc(slices.Clone(*f.upstreams.Load()), (*upstream).isLooping)
	policy := *f.policy.Load()
	if policy == RoundRobin && len(servers) > 1 {
		first := int(f.turn.Add(1) % uint32(len(servers)))
		servers = append(servers[first:len(servers):len(servers)], servers[:first]...)
	}
	slices.SortStableFunc(servers, func(a, b *upstream) int {
		aDown, aTime := a.rank()
		bDown, bTime := b.rank()
		switch {
		case aDown && !bDown:
			return 1
		case bDown && !aDown:
			return -1
		case policy == Sequential || policy == RoundRobin:
			return 0
		}
		return cmp.Compare(aTime, bTime)
	})
	return servers
}
