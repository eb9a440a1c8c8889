// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// trees are folders taken hold of as detached mounts (open_tree(2), Linux 5.2), to be placed when their targets exist.
type trees struct {
	held []tree
	err  error
}

type tree struct {
	fd     int
	source string
	target string
}

func (t *trees) take(source, target string) {
	if t.err != nil {
		return
	}
	fd, err := unix.OpenTree(unix.AT_FDCWD, source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		t.err = fmt.Errorf("take hold of %s: %w", source, err)
		return
	}
	t.held = append(t.held, tree{fd: fd, source: source, target: target})
}

func (t *trees) place() error {
	for _, one := range t.held {
		if err := unix.MoveMount(one.fd, "", unix.AT_FDCWD, one.target, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
			return fmt.Errorf("mount %s on %s: %w", one.source, one.target, err)
		}
		if err := unix.Mount("", one.target, "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("make %s private: %w", one.target, err)
		}
	}
	return nil
}

func (t *trees) close() {
	for _, one := range t.held {
		unix.Close(one.fd)
	}
}
