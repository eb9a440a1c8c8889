// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"context"
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"eastwest/internal/dataplane"
	"eastwest/internal/dataplane/quarantine"
	"eastwest/internal/table"
)

// Probed is a backend that can say which rows the kernel refuses.
type Probed interface {
	dataplane.Dataplane[table.Service]
	quarantine.Prober
}

// Refusals plays random changes to backends on an empty kernel in memory that takes nothing for which refuse, asked with a
// text that has the service's name, returns an error: every other service is there, and those are reported.
func Refusals(t *testing.T, make func(t *rapid.T, refuse func(text string) error) Probed) {
	rapid.Check(t, func(t *rapid.T) {
		bad := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"default/s0", "default/s1", "default/s2"}), 0, 2, rapid.ID).Draw(t, "refused")
		inner := make(t, func(text string) error {
			for _, name := range bad {
				if strings.Contains(text, name) {
					return errors.New("the kernel does not like " + name)
				}
			}
			return nil
		})
		out := map[string]bool{}
		backend := quarantine.Around(inner, quarantine.Config{Prober: inner, Report: func(row table.Service, reason error) {
			if out[row.Key()] = true; !strings.Contains(reason.Error(), row.Key()) {
				t.Errorf("%s is reported because of %v", row.Key(), reason)
			}
		}})
		history(t, func(want table.Table[table.Service], changed table.Keys) {
			if len(bad) > 0 && rapid.IntRange(0, 3).Draw(t, "mood") == 0 {
				bad = bad[1:]
				changed.All = true // as a resync does
			}
			applyAtLast(t, backend, want, changed)
			refused := 0
			for _, name := range bad {
				if _, there := want.Get(name); there {
					if refused++; !out[name] {
						t.Errorf("%s is refused and not reported", name)
					}
				}
			}
			if len(backend.Out()) != refused {
				t.Errorf("%v are kept out, of %d that the kernel refuses", backend.Out(), refused)
			}
			fresh := make(t, likesAll)
			if err := fresh.Apply(context.Background(), want.With(nil, bad...), table.Keys{All: true}); err != nil {
				t.Fatal(err)
			}
			equalDumps(t, fresh, backend)
		})
	})
}

func likesAll(string) error { return nil }

// applyAtLast tries as a loop does.
func applyAtLast(t *rapid.T, backend dataplane.Dataplane[table.Service], want table.Table[table.Service], changed table.Keys) {
	for try := 0; ; try++ {
		err := backend.Apply(context.Background(), want, changed)
		if err == nil {
			return
		}
		if try > 3 {
			t.Fatal(err)
		}
		changed.All = true
	}
}
