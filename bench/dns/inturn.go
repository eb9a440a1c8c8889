// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"
)

const inTurn = "sizes in turn"

// firstSizePort is where the server of the first size listens.
const firstSizePort = 5310

// compareSizes asks servers of all sizes in turn, one short run each, so that what else the machine does hits all alike.
func (o *options) compareSizes(ctx context.Context) (err error) {
	if len(o.sizes) < 2 || !o.wanted(inTurn) {
		return nil
	}
	var servers []*server
	var files []string
	var apis []*api
	defer func() {
		for _, s := range servers {
			err = errors.Join(err, s.stop())
		}
		for _, api := range apis { // they wait for their clients to go
			api.Close()
		}
	}()
	for i, size := range o.sizes {
		api, err := serveAPI(size.services, size.endpoints)
		if err != nil {
			return err
		}
		apis = append(apis, api)
		s, err := o.startOne(api.URL, size, firstSizePort+i)
		if err != nil {
			return err
		}
		servers = append(servers, s)
		file := filepath.Join(o.dir, "queries-"+size.String())
		if err := os.WriteFile(file, []byte(workloads[0].queries(size.services)), 0o600); err != nil {
			return err
		}
		files = append(files, file)
	}
	rates, work := make([][]float64, len(servers)), make([][]float64, len(servers))
	for run := range o.runs + 1 {
		for i, s := range servers {
			before := s.processorTime()
			rate, err := rateOf(ctx, s, files[i], o.length)
			if err != nil {
				return err
			}
			if run > 0 { // the first one warms up
				rates[i] = append(rates[i], rate)
				work[i] = append(work[i], float64((s.processorTime()-before).Nanoseconds())/(rate*o.length.Seconds()))
			}
		}
	}
	fmt.Printf("== %s, A over UDP, median of %d runs; each of the first one's in the same turn\n", inTurn, o.runs)
	for i, size := range o.sizes {
		fmt.Printf("  %-10s %7.0f q/s (%.2f); %5.0f ns of the processors for a query (%.2f)\n", size, medianOf(rates[i]), medianOf(ratios(rates[i], rates[0])), medianOf(work[i]),
			medianOf(ratios(work[i], work[0])))
	}
	return nil
}

func (o *options) startOne(api string, size size, port int) (*server, error) {
	dir := filepath.Join(o.dir, size.String())
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	kubeconfig := filepath.Join(dir, "kubeconfig")
	if err := os.WriteFile(kubeconfig, []byte(kubeconfigOf(api)), 0o600); err != nil {
		return nil, err
	}
	s := &server{name: "eastwest", port: port, cmd: exec.Command(o.node, "dns", "--kubeconfig", kubeconfig, "--listen", fmt.Sprint("127.0.0.1:", port), "--resolv-conf", "")}
	s.cmd.SysProcAttr = dieWithUs()
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", s.name, err)
	}
	if err := s.await(size.services - 1); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

func rateOf(ctx context.Context, s *server, file string, length time.Duration) (float64, error) {
	out, err := dnsperf(ctx, s, file, "udp", "-l", fmt.Sprint(int(length.Seconds())), "-q", "200")
	if err != nil {
		return 0, err
	}
	return number(out, "Queries per second:"), nil
}

func ratios(a, b []float64) []float64 {
	out := make([]float64, len(a))
	for i := range a {
		out[i] = a[i] / b[i]
	}
	return out
}

func medianOf(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}
