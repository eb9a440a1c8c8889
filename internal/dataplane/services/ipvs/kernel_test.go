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
	})
}
