// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"log/slog"
	"runtime"
	"testing"

	"k8s.io/client-go/rest"

	"eastwest/internal/client"
	"eastwest/internal/dns"
	"eastwest/internal/node"
)

// BenchmarkStart reads 10,000 services of 10 endpoints until names are served, and says what is kept of them.
func BenchmarkStart(b *testing.B) {
	api, err := serveAPI(10000, 10)
	if err != nil {
		b.Fatal(err)
	}
	defer api.Close()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for b.Loop() {
		zone, err := dns.NewZone(dns.ZoneConfig{})
		if err != nil {
			b.Fatal(err)
		}
		c, err := client.New(&rest.Config{Host: api.URL, QPS: -1})
		if err != nil {
			b.Fatal(err)
		}
		network, err := node.NewNetwork(node.NetworkConfig{
			Client: c, NodeName: "dns", Names: zone, NameTTL: 30, NoServices: true, NoRoutes: true, Log: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			b.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error)
		go func() { done <- network.Run(ctx) }()
		if err := network.WaitReady(ctx); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(1<<20), "MB-kept")
		runtime.KeepAlive(zone)
		cancel()
		<-done
		b.StartTimer()
	}
}
