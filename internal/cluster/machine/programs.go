// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// MountPrograms makes the machine see the program folder that there is now: the one that it was made with may have been
// deleted or replaced since.
func (m *Machine) MountPrograms() error {
	host, err := os.Stat(m.config.ProgramDir)
	if err != nil {
		return fmt.Errorf("find the programs: %w", err)
	}
	var held trees
	defer held.close()
	held.take(m.config.ProgramDir, ProgramMount)
	if held.err != nil {
		return held.err
	}
	return m.Do(func() error {
		if seen, err := os.Stat(ProgramMount); err == nil && os.SameFile(seen, host) {
			return nil
		}
		if err := unix.Unmount(ProgramMount, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("unmount the programs: %w", err)
		}
		return held.place()
	})
}
