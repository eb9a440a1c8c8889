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
type result struct{ perSecond, latency, lost, late float64 } // queries, milliseconds, per cent, milliseconds

// steady is how many queries a second are asked to see how late the latest are: what all can answer.
const steady = 10_000

func ask(ctx context.Context, s *server, w workload, file string, length time.Duration) (result, error) {
	out, err := dnsperf(ctx, s, file, w.transport, "-l", strconv.Itoa(int(length.Seconds())), "-q", "200")
	if err != nil {
		return result{}, err
	}
	r := result{perSecond: number(out, "Queries per second:"), latency: 1000 * number(out, "Average Latency (s):")}
	if sent := number(out, "Queries sent:"); sent > 0 {
		r.lost = 100 * number(out, "Queries lost:") / sent
	}
	r.late, err = latest(ctx, s, w, file)
	return r, err
}

// dnsperf asks a server with eight clients.
func dnsperf(ctx context.Context, s *server, file, transport string, more ...string) ([]byte, error) {
	args := append([]string{"-s", "127.0.0.1", "-p", strconv.Itoa(s.port), "-d", file, "-m", transport, "-c", "8", "-T", "1"}, more...)
	out, err := exec.CommandContext(ctx, "dnsperf", args...).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("run dnsperf against %s: %w\n%s", s.name, err, out)
	}
	return out, nil
}

// latest returns the 99th percentile of the latency at a steady rate, in milliseconds.
func latest(ctx context.Context, s *server, w workload, file string) (float64, error) {
	out, err := dnsperf(ctx, s, file, w.transport, "-l", "2", "-Q", strconv.Itoa(steady), "-v")
	if err != nil {
		return 0, err
	}
	var latencies []float64
	for line := range strings.Lines(string(out)) {
		if fields := strings.Fields(line); len(fields) == 5 && fields[0] == ">" {
			if v, err := strconv.ParseFloat(fields[4], 64); err == nil {
				latencies = append(latencies, 1000*v)
			}
		}
	}
	if len(latencies) == 0 {
		return 0, fmt.Errorf("dnsperf says nothing about the latency of %s", s.name)
	}
	slices.Sort(latencies)
	return latencies[len(latencies)*99/100], nil
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
	early, late, latest := median(all, func(r result) float64 { return r.late })
	return fmt.Sprintf("%7.0f q/s (%.0f–%.0f), eastwest is %.2f×, %.2f ms, %.3f %% lost; p99 %.2f ms (%.2f–%.2f) at %d q/s", middle, least, most, own/middle, latency, lost,
		late, early, latest, steady)
}
