// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"eastwest/bench/traffic"
)

// pathCost is what a path takes of a processor, a number a batch.
type pathCost struct{ connection, request []time.Duration }

const (
	connectionBatch = 100
	requestBatch    = 300
	settle          = 3 * time.Second // after the last sync, for what a proxy does behind it
)

// cost measures every path in batches of milliseconds, in turn, so that what else the machine does hits all alike.
func (o options) cost(services int) error {
	peers := o.paths()
	var pairs []*traffic.Pair
	var to []netip.AddrPort
	for i, p := range peers {
		l, err := newLab(fmt.Sprint("cost", i))
		if err != nil {
			return err
		}
		defer o.undo.later(l.remove)()
		r, at, err := o.path(p, l, services)
		if err != nil {
			return err
		}
		if r != nil {
			defer o.undo.later(r.stop)()
		}
		pair, err := traffic.NewPair(traffic.Namespace(pinned+l.client), traffic.Namespace(pinned+l.server), 8080)
		if err != nil {
			return err
		}
		defer pair.Close()
		pairs, to = append(pairs, pair), append(to, at)
	}
	time.Sleep(settle)
	all := make([]pathCost, len(peers))
	for range o.batches {
		for i, pair := range pairs {
			connections, err := pair.Connections(to[i], connectionBatch)
			if err != nil {
				return fmt.Errorf("%s: %w", peers[i].name, err)
			}
			requests, err := pair.Requests(to[i], requestBatch)
			if err != nil {
				return fmt.Errorf("%s: %w", peers[i].name, err)
			}
			all[i].connection = append(all[i].connection, connections/connectionBatch)
			all[i].request = append(all[i].request, requests/requestBatch)
		}
	}
	for i, p := range peers {
		fmt.Printf("%-20s %6d services  a connection %s  a request %s\n", p.name, services,
			paired(all[i].connection, all[0].connection), paired(all[i].request, all[0].request))
	}
	return nil
}

// paired prints the median cost, and the median of the ratios to the path without rules, batch by batch.
func paired(have, bare []time.Duration) string {
	ratios := make([]float64, len(have))
	for i := range have {
		ratios[i] = float64(bare[i]) / float64(have[i])
	}
	slices.Sort(ratios)
	sorted := slices.Sorted(slices.Values(have))
	n := len(sorted)
	return fmt.Sprintf("%6.2f µs (quarters %.2f, %.2f) = %.3f", us(sorted[n/2]), us(sorted[n/4]), us(sorted[n*3/4]), ratios[n/2])
}

func us(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }
