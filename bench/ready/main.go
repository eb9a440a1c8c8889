// SPDX-License-Identifier: Apache-2.0

// Command ready measures how long it takes from the moment that a pod's readiness is written to the API until its first
// packet arrives: a client on another node connects to the virtual IP of the pod's Service again and again, refused as long
// as there is no endpoint. Between lie the kubelet, the endpoints' controller, two watches and the kernel. It does so on a
// cluster with few Services and with many.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

const name = "bench"

func main() {
	bin := flag.String("bin", "../bin", "folder of the programs")
	sizes := flag.String("services", "1000,10000", "how many Services there are, one measurement each")
	rounds := flag.Int("rounds", 200, "how often the pod becomes ready")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, filepath.Join(*bin, "eastwest"), *sizes, *rounds); err != nil {
		fmt.Fprintln(os.Stderr, "ready:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, eastwest, sizes string, rounds int) (err error) {
	dir, err := os.MkdirTemp("", "eastwest-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	kubeconfig := filepath.Join(dir, "kubeconfig")
	defer func() { err = errors.Join(err, command(eastwest, "down", "--name", name)) }()
	if err := command(eastwest, "up", "--name", name, "--nodes", "2", "--kubeconfig", kubeconfig); err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	config.QPS = -1
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	w := &workload{client: client, eastwest: eastwest}
	if err := w.start(ctx); err != nil {
		return err
	}
	for size := range strings.SplitSeq(sizes, ",") {
		n, err := strconv.Atoi(size)
		if err != nil {
			return fmt.Errorf("--services: %w", err)
		}
		if err := w.fill(ctx, n); err != nil {
			return fmt.Errorf("make %d Services: %w", n, err)
		}
		times, err := w.measure(ctx, rounds)
		if err != nil {
			return err
		}
		slices.Sort(times)
		fmt.Printf("%6d services: p50 %.1f ms, p99 %.1f ms, longest %.1f ms, of %d\n", n,
			ms(times[len(times)/2]), ms(times[len(times)*99/100]), ms(times[len(times)-1]), len(times))
	}
	return nil
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func command(program string, args ...string) error {
	out, err := exec.Command(program, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %v: %w\n%s", program, args, err, out)
	}
	return nil
}
