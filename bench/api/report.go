// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"text/tabwriter"
)

// result is what one run measured, by name and unit.
type result map[string]float64

// report prints medians with their spread, and how ours are to the genuine ones.
func report(ours, genuine []result) {
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(out, "what\teastwest\tgenuine\tratio")
	for _, what := range slices.Sorted(maps.Keys(ours[0])) {
		a, b := values(ours, what), values(genuine, what)
		fmt.Fprintf(out, "%s\t%s\t%s\t%.2f\n", what, spread(a), spread(b), median(a)/median(b))
	}
	_ = out.Flush()
}

func values(results []result, what string) []float64 {
	var out []float64
	for _, r := range results {
		out = append(out, r[what])
	}
	slices.Sort(out)
	return out
}

func median(sorted []float64) float64 { return sorted[len(sorted)/2] }

func spread(sorted []float64) string {
	return fmt.Sprintf("%.4g (%.4g to %.4g)", median(sorted), sorted[0], sorted[len(sorted)-1])
}
