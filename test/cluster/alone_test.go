// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// The clusters of a run lie in folders of their own: what a run that was cut off has left there is nobody else's.
const (
	runDir   = "/run/eastwest-scripts"
	stateDir = "/var/lib/eastwest-scripts"
)

// alone waits until no other run is at work, and removes the clusters of one that was cut off. The lock goes with the
// program, so a killed run holds nobody up.
func alone() (release func(), err error) {
	for key, dir := range map[string]string{"EASTWEST_LOCAL_RUN_DIR": runDir, "EASTWEST_LOCAL_STATE_DIR": stateDir} {
		if err := os.Setenv(key, dir); err != nil {
			return nil, err
		}
	}
	lock, err := os.OpenFile(runDir+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the lock of the scripts' clusters: %w", err)
	}
	if err := wait(lock); err != nil {
		_ = lock.Close()
		return nil, err
	}
	if err := removeLeftOvers(); err != nil {
		_ = lock.Close()
		return nil, err
	}
	return func() { _ = lock.Close() }, nil
}

func wait(lock *os.File) error {
	err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		fmt.Fprintln(os.Stderr, "waiting for another run of the scripts to end")
		err = unix.Flock(int(lock.Fd()), unix.LOCK_EX)
	}
	if err != nil {
		return fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	return nil
}

func removeLeftOvers() error {
	for _, dir := range []string{runDir, stateDir} {
		clusters, err := os.ReadDir(filepath.Join(dir, "clusters"))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("list left-over clusters: %w", err)
		}
		for _, cluster := range clusters {
			if err := eastwest("down", "--name", cluster.Name()); err != nil {
				return fmt.Errorf("remove left-over cluster %s: %w", cluster.Name(), err)
			}
		}
	}
	return nil
}
