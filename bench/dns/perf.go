// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"
)

// workload is a kind of question.
type workload struct {
	name, transport string
	query           func(services int) string
}

var workloads = []workload{
	{"A over UDP", "udp", clusterName},
	{"A over TCP", "tcp", clusterName},
	{"outside names from the cache, over UDP", "udp", func(int) string { return fmt.Sprintf("host-%d.example.com A", rand.IntN(1000)) }},
}

func clusterName(services int) string {
	namespace, name, _ := serviceOf(rand.IntN(services))
	return name + "." + namespace + ".svc.cluster.local A"
}

func (w workload) queries(services int) string {
	var b strings.Builder
	for range 100_000 {
		b.WriteString(w.query(services) + "\n")
	}
	return b.String()
}

// result is what one run of dnsperf measured.
type result struct{ perSecond, latency, lost float64 } // queries, milliseconds, per cent

func ask(ctx context.Context, s *server, w workload, file string, length time.Duration) (result, error) {
	out, err := exec.CommandContext(ctx, "dnsperf", "-s", "127.0.0.1", "-p", strconv.Itoa(s.port), "-d", file, "-m", w.transport,
		"-l", strconv.Itoa(int(length.Seconds())), "-c", "8", "-T", "1", "-q", "200").CombinedOutput()
	if err != nil {
		return result{}, fmt.Errorf("run dnsperf against %s: %w\n%s", s.name, err, out)
	}
	r := result{number(out, "Queries per second:"), 1000 * number(out, "Average Latency (s):"), 0}
	if sent := number(out, "Queries sent:"); sent > 0 {
		r.lost = 100 * number(out, "Queries lost:") / sent
	}
	return r, nil
}

func number(out []byte, label string) float64 {
	_, rest, _ := strings.Cut(string(out), label)
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return 0
	}
	v, _ := strconv.ParseFloat(fields[0], 64)
	return v
}

func median(all []result, of func(result) float64) (least, middle, most float64) {
	values := make([]float64, 0, len(all))
	for _, r := range all {
		values = append(values, of(r))
	}
	slices.Sort(values)
	return values[0], values[len(values)/2], values[len(values)-1]
}

// summary compares with what ours, measured first, did.
func summary(all, ours []result) string {
	rate := func(r result) float64 { return r.perSecond }
	least, middle, most := median(all, rate)
	_, own, _ := median(ours, rate)
	_, latency, _ := median(all, func(r result) float64 { return r.latency })
	_, lost, _ := median(all, func(r result) float64 { return r.lost })
	return fmt.Sprintf("%7.0f q/s (%.0f–%.0f), eastwest is %.2f×, %.2f ms, %.3f %% lost", middle, least, most, own/middle, latency, lost)
}
