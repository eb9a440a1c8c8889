// SPDX-License-Identifier: Apache-2.0

// Package demo shows a cluster at work: a Deployment and a Service, a client pod on each node that asks the Service by
// name, and the way that the packets take, read from each node's kernel.
//
//	apply ─▶ wait (watch) ─▶ observe from each client (exec: look-up, requests; node: explain) ─▶ Report
package demo

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// Config says which cluster to show and how to reach it.
type Config struct {
	API       *rest.Config
	Namespace string // default "default"
	// RunOnNode runs a command in a node's network and returns its stdout. It is how explanations are read.
	RunOnNode func(ctx context.Context, node string, command ...string) ([]byte, error)
	Requests  int           // of each client; default 30
	Wait      time.Duration // for pods to become ready; default two minutes
	Progress  func(text string)
}

// Demo shows one cluster.
type Demo struct {
	config    Config
	client    kubernetes.Interface
	manifests *manifests
}

// New makes a demo. It changes nothing yet.
func New(config Config) (*Demo, error) {
	if config.API == nil || config.RunOnNode == nil {
		return nil, errors.New("make the demo: API and RunOnNode are required")
	}
	if config.Namespace == "" {
		config.Namespace = metav1.NamespaceDefault
	}
	if config.Requests == 0 {
		config.Requests = 30
	}
	if config.Wait == 0 {
		config.Wait = 2 * time.Minute
	}
	if config.Progress == nil {
		config.Progress = func(string) {}
	}
	client, err := kubernetes.NewForConfig(config.API)
	if err != nil {
		return nil, fmt.Errorf("configure the connection to the API server: %w", err)
	}
	m, err := parseManifests(config.Namespace)
	if err != nil {
		return nil, err
	}
	return &Demo{config: config, client: client, manifests: m}, nil
}

// Run applies the objects, waits for them and asks from every node. The objects stay. What does not work is part of the
// report (Report.Problems); an error means that the demo could not get that far.
func (d *Demo) Run(ctx context.Context) (*Report, error) {
	nodes, err := d.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list nodes: %w", err)
	}
	if len(nodes.Items) == 0 {
		return nil, errors.New("the cluster has no nodes: start agents, or look at their logs")
	}
	d.config.Progress("applying the Deployment and the Service")
	service, err := d.apply(ctx)
	if err != nil {
		return nil, err
	}
	if err := d.startClients(ctx, nodes.Items); err != nil {
		return nil, err
	}
	servers, clients, err := d.waitForPods(ctx, len(nodes.Items))
	if err != nil {
		return nil, err
	}
	report := newReport(service, servers)
	d.config.Progress("asking from every node")
	report.Clients = d.observeAll(ctx, service, servers, clients, nodes.Items)
	return report, nil
}

// observeAll asks from all clients at the same time.
func (d *Demo) observeAll(ctx context.Context, service *corev1.Service, servers, clients []corev1.Pod, nodes []corev1.Node) []Client {
	out := make([]Client, len(clients))
	var group sync.WaitGroup
	for i := range clients {
		o := observer{demo: d, service: service, servers: servers, nodes: nodes, pod: &clients[i]}
		group.Go(func() { out[i] = o.observe(ctx) })
	}
	group.Wait()
	return out
}
