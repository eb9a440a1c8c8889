// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"eastwest/internal/cluster/proc"
)

// grace is how long processes get to end by themselves before they are killed.
const grace = 3 * time.Second

// Stop ends one recorded process: SIGTERM, then SIGKILL. A process that has ended already is no error.
func (m *Machine) Stop(ctx context.Context, name string) error {
	records, err := m.Processes()
	if err != nil {
		return err
	}
	record, ok := records[name]
	if !ok {
		return nil
	}
	return End(ctx, record.ID)
}

// PowerOff tells a recorded process that the machine goes down, and waits until it has seen to that and ended. One that needs longer is
// left as it is.
func (m *Machine) PowerOff(ctx context.Context, name string, patience time.Duration) error {
	records, err := m.Processes()
	if err != nil {
		return err
	}
	record, ok := records[name]
	if !ok || !record.Alive() {
		return nil
	}
	if err := record.Signal(unix.SIGPWR); err != nil {
		return err
	}
	patient, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := await(patient, record.ID); err != nil {
		return ctx.Err()
	}
	return nil
}

// End ends a process: SIGTERM, and SIGKILL when it is still there after a grace period.
func End(ctx context.Context, id proc.ID) error {
	if err := id.Signal(unix.SIGTERM); err != nil {
		return err
	}
	patient, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	if await(patient, id) == nil {
		return nil
	}
	if err := id.Signal(unix.SIGKILL); err != nil {
		return err
	}
	return await(ctx, id)
}

// await returns when the process has ended.
func await(ctx context.Context, id proc.ID) error {
	for id.Alive() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("process %d does not end: %w", id.PID, ctx.Err())
		case <-time.After(2 * time.Millisecond):
		}
	}
	return nil
}

// Kill ends every process of the machine: those in its control group, those recorded, and those inside its namespaces.
// The machine itself stays.
func (m *Machine) Kill(ctx context.Context) error {
	err := m.config.Group.Kill(ctx)
	records, listErr := m.Processes()
	err = errors.Join(err, listErr)
	for _, record := range records {
		err = errors.Join(err, record.Signal(unix.SIGKILL))
	}
	namespaces := map[proc.Namespace]bool{}
	for _, kind := range pinned {
		// The cgroup namespace is left out: processes are told by where they are, not by what they see.
		if ns, nsErr := proc.NamespaceAt(m.pin(kind)); nsErr == nil && kind != "cgroup" {
			namespaces[ns] = true
		}
	}
	if killErr := killInside(ctx, namespaces); killErr != nil {
		err = errors.Join(err, killErr)
	}
	if err != nil {
		return fmt.Errorf("kill the processes of node %s: %w", m.config.Name, err)
	}
	return nil
}

func killInside(ctx context.Context, namespaces map[proc.Namespace]bool) error {
	for {
		inside, err := proc.Inside(namespaces)
		if err != nil || len(inside) == 0 {
			return err
		}
		for _, id := range inside {
			err = errors.Join(err, id.Signal(unix.SIGKILL), await(ctx, id))
		}
		if err != nil {
			return err
		}
	}
}

// Unpin lets the namespaces go; with the last process the kernel frees them, their links and their mounts.
func (m *Machine) Unpin() error {
	var errs []error
	for _, kind := range pinned {
		errs = append(errs, unpin(m.pin(kind)))
	}
	return errors.Join(errs...)
}
