// SPDX-License-Identifier: Apache-2.0

package ipvs_test

import (
	"testing"

	"eastwest/internal/dataplane"
	"eastwest/internal/dataplane/conformance"
	kernel "eastwest/internal/kernel/ipvs"
	"eastwest/internal/table"
)

func TestConformance(t *testing.T) {
	requireIPVS(t)
	conformance.Services(t, func(t *testing.T, path string, config conformance.Config) dataplane.Dataplane[table.Service] {
		return onKernel(t, path, kernel.NewDevice(path), config)
	}, lingering)
}

// lingering is the one case that IPVS cannot pass: it remembers a client's endpoint for as long as it remembers one of the
// client's connections, which is two minutes after a connection of TCP was closed.
var lingering = conformance.Exception{Case: "affinity-ends", Reason: "IPVS remembers clients while it remembers one of their connections"}

// Kernels without dummy devices have the addresses on the loopback.
func TestConformanceWithoutDummies(t *testing.T) {
	requireIPVS(t)
	conformance.Services(t, func(t *testing.T, path string, config conformance.Config) dataplane.Dataplane[table.Service] {
		return onKernel(t, path, kernel.WithoutDummies(path), config)
	}, lingering)
}
