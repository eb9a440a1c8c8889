// SPDX-License-Identifier: Apache-2.0

package dns

import "net/netip"

// When a socket's datagrams come faster than they are answered, they pile up and are lost, whoever sent them. Then one
// client that sends more than all others together gets as much as they do and no more: reading a datagram costs little,
// answering it much.
const (
	backlog     = 64  // full batches one after the other that are a flood and no burst
	rememberFor = 256 // full batches that another client is thought of after it was seen
	leastShare  = 8   // datagrams of a batch that every client gets
)

// fairness watches over one socket.
type fairness struct {
	full   int // batches
	others int // batches for which other clients count yet
}

// look returns the client of which only so many datagrams of a batch are to be answered; none when the address is not valid.
func (f *fairness) look(received int, client func(i int) netip.Addr) (heavy netip.Addr, share int) {
	if received < batchSize {
		*f = fairness{}
		return netip.Addr{}, 0
	}
	if f.full++; f.full < backlog {
		return netip.Addr{}, 0
	}
	candidate, votes := netip.Addr{}, 0
	for i := range received {
		switch a := client(i); {
		case votes == 0:
			candidate, votes = a, 1
		case a == candidate:
			votes++
		default:
			votes--
		}
	}
	own := 0
	for i := range received {
		if client(i) == candidate {
			own++
		}
	}
	if f.others--; own < received {
		f.others = rememberFor
	}
	if own <= received/2 || f.others <= 0 {
		return netip.Addr{}, 0 // nobody has too much, or nobody else wants anything
	}
	return candidate, max(leastShare, received-own)
}
