// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"time"
)

func quantile(d []time.Duration, q float64) time.Duration {
	sorted := slices.Sorted(slices.Values(d))
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

func median(d []time.Duration) time.Duration { return quantile(d, 0.5) }

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }

// spread is the median with the tenth and the ninetieth percentile.
func spread(d []time.Duration) string {
	return fmt.Sprintf("%.1f ms (%.1f–%.1f)", ms(median(d)), ms(quantile(d, 0.1)), ms(quantile(d, 0.9)))
}
