// SPDX-License-Identifier: Apache-2.0

package iptables_test

import (
	"context"
	"log/slog"
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"eastwest/internal/dataplane"
	"eastwest/internal/dataplane/conformance"
	"eastwest/internal/dataplane/services/iptables"
	kernel "eastwest/internal/kernel/iptables"
	"eastwest/internal/kernel/iptables/iptablestest"
	"eastwest/internal/kernel/netns/netnstest"
	"eastwest/internal/table"
)

func TestHistories(t *testing.T) {
	conformance.Histories(t, func(t *rapid.T, fail func() error) (dataplane.Dataplane[table.Service], func()) {
		kernel := &iptablestest.Fake{Fail: fail}
		batch := rapid.SampledFrom([]int{1, 2, 5, 1000}).Draw(t, "batch")
		backend, err := iptables.New(iptables.Config{Kernel: kernel, Batch: batch, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		return backend, kernel.Flush
	})
}

func TestHistoriesOnTheKernel(t *testing.T) {
	netnstest.RequireProgram(t, "iptables-restore")
	conformance.KernelHistories(t, func(t *testing.T, ns string) dataplane.Dataplane[table.Service] {
		return newBackend(t, twice{t, kernel.New(ns)})
	})
}

// twice reads in both ways, which have to agree.
type twice struct {
	t *testing.T
	*kernel.Conn
}

func (k twice) Chains(ctx context.Context, family kernel.Family, tables []string, wanted func(string) bool) (map[kernel.Chain][]string, error) {
	have, err := k.Conn.Chains(ctx, family, tables, wanted)
	want := map[kernel.Chain][]string{}
	for _, table := range tables {
		text, err := k.Save(ctx, family, table)
		if err != nil {
			return nil, err
		}
		kernel.Parse(want, table, text, wanted)
	}
	maps.DeleteFunc(want, func(c kernel.Chain, rules []string) bool { return len(rules) == 0 && !wanted(c.Name) })
	if diff := cmp.Diff(want, have); diff != "" {
		k.t.Errorf("%s (-iptables-save +kernel):\n%s", family, diff)
	}
	return have, err
}

func TestRefusals(t *testing.T) {
	conformance.Refusals(t, func(t *rapid.T, refuse func(string) error) conformance.Probed {
		batch := rapid.SampledFrom([]int{1, 2, 5, 1000}).Draw(t, "batch")
		backend, err := iptables.New(iptables.Config{Kernel: &iptablestest.Fake{Refuse: refuse}, Batch: batch, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		return backend
	})
}
