// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"
)

// size is how large a cluster is.
type size struct{ services, endpoints int }

func (s size) String() string { return fmt.Sprintf("%dx%d", s.services, s.endpoints) }

func parseSizes(text string) (sizes []size, err error) {
	for one := range strings.SplitSeq(text, ",") {
		var s size
		if _, err := fmt.Sscanf(one, "%dx%d", &s.services, &s.endpoints); err != nil || s.services < 1 || s.endpoints < 0 {
			return nil, fmt.Errorf("%q is not SERVICESxENDPOINTS", one)
		}
		sizes = append(sizes, s)
	}
	return sizes, nil
}

// summaries are what was measured of each server, cluster by cluster.
type summaries struct {
	order  []string // measurements
	values map[string]map[string][]float64
}

func (m *summaries) add(measurement, server string, value float64) {
	if m.values == nil {
		m.values = map[string]map[string][]float64{}
	}
	if m.values[measurement] == nil {
		m.order = append(m.order, measurement)
		m.values[measurement] = map[string][]float64{}
	}
	m.values[measurement][server] = append(m.values[measurement][server], value)
}

// print compares clusters: eastwest beside itself in the first one, and beside CoreDNS in each.
func (m *summaries) print(sizes []size) {
	if len(sizes) < 2 {
		return
	}
	fmt.Println("== all, eastwest (of the first; of CoreDNS's)")
	for _, measurement := range m.order {
		ours, core := m.values[measurement]["eastwest"], m.values[measurement]["coredns"]
		fmt.Printf("%s\n", measurement)
		for i := range ours {
			fmt.Printf("  %-10s %9.0f  (%.2f", sizes[i], ours[i], ours[i]/ours[0])
			if i < len(core) {
				fmt.Printf("; %.2f", ours[i]/core[i])
			}
			fmt.Println(")")
		}
	}
}

func middleRate(all []result) float64 {
	_, middle, _ := median(all, func(r result) float64 { return r.perSecond })
	return middle
}
