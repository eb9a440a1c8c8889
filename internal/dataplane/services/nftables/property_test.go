// SPDX-License-Identifier: Apache-2.0

package nftables_test

import (
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"eastwest/internal/dataplane"
	"eastwest/internal/dataplane/conformance"
	"eastwest/internal/dataplane/quarantine"
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

// A Service with more endpoints than rules can be written for in good time is refused and told of; others are served. It is
// served once it has fewer.
func TestTooManyEndpoints(t *testing.T) {
	backend, err := nftables.New(nftables.Config{Kernel: &nfttest.Fake{}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	var reported []string
	kept := quarantine.Around(backend, quarantine.Config{Prober: backend, Report: func(row table.Service, reason error) {
		reported = append(reported, row.Key()+": "+reason.Error())
	}})
	large := func(n int) table.Service {
		row := nginx()
		row.Object.Name, row.Frontends = "large", row.Frontends[:1]
		row.Frontends[0].Action, row.Frontends[0].Port = table.Forward, 8081
		for e := range n {
			row.Frontends[0].Endpoints = append(row.Frontends[0].Endpoints, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 244, byte(e >> 8), byte(e)}), 80))
		}
		return row
	}
	apply := func(rows ...table.Service) string {
		t.Helper()
		changed := table.Keys{Names: []string{"default/large", "default/nginx"}}
		for try := 0; kept.Apply(t.Context(), tableOf(rows...), changed) != nil; try++ {
			if changed.All = true; try > 3 {
				t.Fatal("it holds up the others")
			}
		}
		text, err := backend.Dump(t.Context())
		if err != nil || !strings.Contains(text, "default/nginx") {
			t.Errorf("the other service is not served: %v", err)
		}
		return text
	}
	if text := apply(nginx("10.244.0.2:80"), large(8193)); strings.Contains(text, "default/large") {
		t.Error("the large service is written")
	}
	if len(reported) != 1 || !strings.Contains(reported[0], "default/large: ") || !strings.Contains(reported[0], "8193 endpoints") {
		t.Errorf("reported: %v", reported)
	}
	if text := apply(nginx("10.244.0.2:80"), large(3)); !strings.Contains(text, "default/large") {
		t.Error("it is not served with fewer endpoints")
	}
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
