// SPDX-License-Identifier: Apache-2.0

package iptables_test

import (
	"log/slog"
	"testing"

	"eastwest/internal/dataplane"
	"eastwest/internal/dataplane/conformance"
	services "eastwest/internal/dataplane/services/iptables"
	"eastwest/internal/kernel/iptables"
	"eastwest/internal/kernel/netns/netnstest"
	"eastwest/internal/table"
)

func TestConformance(t *testing.T) {
	netnstest.RequireProgram(t, "iptables-restore")
	conformance.Services(t, func(t *testing.T, path string, config dataplane.Node) dataplane.Dataplane[table.Service] {
		backend, err := services.New(services.Config{
			Kernel: iptables.New(path), Log: slog.New(slog.DiscardHandler),
			Node: config,
		})
		if err != nil {
			t.Fatal(err)
		}
		return backend
	})
}
