// SPDX-License-Identifier: Apache-2.0

package nftset

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Locked runs fn while no other process of these plugins changes elements in the calling thread's network namespace.
// The lock is one on the namespace itself (flock of its nsfs file), so there is no file to leave behind, and nodes that
// share a file system do not wait for each other.
func Locked(fn func() error) error {
	return LockedBy(func(*os.File) error { return fn() })
}

// LockedBy is Locked for what starts programs that change something. They get the lock, too: when this process is killed, they keep it until
// they have ended, so that nobody looks at what they are about to change.
func LockedBy(fn func(lock *os.File) error) error {
	ns, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return fmt.Errorf("open network namespace to lock it: %w", err)
	}
	defer ns.Close()
	for {
		err := unix.Flock(int(ns.Fd()), unix.LOCK_EX)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("lock network namespace: %w", err)
		}
		return fn(ns)
	}
}
