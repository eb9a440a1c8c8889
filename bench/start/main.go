// SPDX-License-Identifier: Apache-2.0

// Command start measures a cluster of three nodes: from nothing to the first answer by name over a ClusterIP, the resident
// memory of every process, and how long a pod takes from its creation in the API until it is Ready.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

const name = "bench"

func main() {
	bin := flag.String("bin", "../bin", "folder of the programs")
	runs := flag.Int("runs", 3, "how many clusters to start")
	pods := flag.Int("pods", 60, "how many pods to create on the last cluster")
	flag.Parse()
	if err := run(context.Background(), filepath.Join(*bin, "eastwest"), *runs, *pods); err != nil {
		fmt.Fprintln(os.Stderr, "start:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, eastwest string, runs, pods int) error {
	var up, answer []time.Duration
	for i := range runs {
		cluster, err := startCluster(ctx, eastwest)
		if err == nil {
			up, answer = append(up, cluster.up), append(answer, cluster.answer)
			fmt.Printf("run %d: up %.1f s, first answer by name %.1f s\n", i+1, cluster.up.Seconds(), cluster.answer.Seconds())
			if i == runs-1 {
				err = cluster.measure(ctx, pods)
			}
		}
		// A cluster that did not answer goes, too: nothing is left behind.
		if err := errors.Join(err, command(eastwest, "down", "--name", name)); err != nil {
			return err
		}
	}
	fmt.Printf("up:                   %s\n", spread(up))
	fmt.Printf("first answer by name: %s\n", spread(answer))
	return nil
}

type cluster struct {
	client     kubernetes.Interface
	up, answer time.Duration
}

// startCluster goes from nothing to the first answer. Both times count from the start of `eastwest up`.
func startCluster(ctx context.Context, eastwest string) (*cluster, error) {
	dir, err := os.MkdirTemp("", "eastwest-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	kubeconfig := filepath.Join(dir, "kubeconfig")
	begin := time.Now()
	if err := command(eastwest, "up", "--name", name, "--kubeconfig", kubeconfig, "--wait", "5m"); err != nil {
		return nil, err
	}
	c := &cluster{up: time.Since(begin)}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	config.QPS, config.Burst = 1000, 1000
	config.WarningHandler = rest.NoWarnings{}
	if c.client, err = kubernetes.NewForConfig(config); err != nil {
		return nil, err
	}
	if err := c.firstAnswer(ctx); err != nil {
		return nil, err
	}
	c.answer = time.Since(begin)
	return c, nil
}

func (c *cluster) measure(ctx context.Context, pods int) error {
	// A server gives back the memory of its start 15 s after it serves.
	time.Sleep(20 * time.Second)
	if err := printMemory(); err != nil {
		return err
	}
	return c.podTimes(ctx, pods)
}

func command(program string, args ...string) error {
	out, err := exec.Command(program, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %v: %w\n%s", program, args, err, out)
	}
	return nil
}
