// SPDX-License-Identifier: Apache-2.0

package handover_test

import (
	"context"
	"path/filepath"
	"testing"

	"eastwest/internal/dataplane"
	"eastwest/internal/dataplane/conformance"
	"eastwest/internal/dataplane/handover"
	"eastwest/internal/table"
)

// relay is a dataplane that is another process at each step.
type relay struct {
	*process // the last one
	lab      *lab
}

func (r *relay) Apply(ctx context.Context, want table.Table[table.Service], _ table.Keys) error {
	if r.process != nil {
		r.end()
	}
	r.process = r.lab.start()
	return r.process.Apply(ctx, want, table.Keys{All: true})
}

func (r *relay) Remove(ctx context.Context) error {
	p := r.lab.start()
	defer p.end()
	return p.Remove(ctx)
}

func (r *relay) Dump(ctx context.Context) (string, error) {
	if r.process == nil {
		r.process = r.lab.start()
	}
	return r.process.Dump(ctx)
}

var _ dataplane.Dataplane[table.Service] = (*relay)(nil)

// Whatever changes from one process to the next, the kernel holds what a process that begins with an empty one would have written.
func TestHistoriesOfProcesses(t *testing.T) {
	each(t, func(t *testing.T, l *lab, _ string) {
		conformance.KernelHistories(t, func(t *testing.T, ns string) dataplane.Dataplane[table.Service] {
			other := *l
			other.t, other.ns, other.config = t, ns, handover.Config{File: filepath.Join(t.TempDir(), "image")}
			r := &relay{lab: &other}
			t.Cleanup(func() {
				if r.process != nil {
					r.end()
				}
			})
			return r
		})
	})
}
