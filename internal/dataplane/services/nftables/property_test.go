// SPDX-License-Identifier: Apache-2.0

package nftables_test

import (
	"log/slog"
	"testing"

	"pgregory.net/rapid"

	"eastwest/internal/dataplane"
	"eastwest/internal/dataplane/conformance"
	"eastwest/internal/dataplane/services/nftables"
	"eastwest/internal/kernel/nft/nfttest"
	"eastwest/internal/table"
)

func TestHistories(t *testing.T) {
	conformance.Histories(t, func(t *rapid.T, fail func() error) (dataplane.Dataplane[table.Service], func()) {
		kernel := &nfttest.Fake{Fail: fail}
		backend, err := nftables.New(nftables.Config{Kernel: kernel, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		return backend, kernel.Flush
	})
}

func TestHistoriesOnTheKernel(t *testing.T) {
	conformance.KernelHistories(t, func(t *testing.T, ns string) dataplane.Dataplane[table.Service] {
		backend, _ := newBackend(t, ns)
		return backend
	})
}

func TestRefusals(t *testing.T) {
	conformance.Refusals(t, func(t *rapid.T, refuse func(string) error) conformance.Probed {
		backend, err := nftables.New(nftables.Config{Kernel: &nfttest.Fake{Refuse: refuse}, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		return backend
	})
}
