// SPDX-License-Identifier: Apache-2.0

package link

import (
	"errors"
	"fmt"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func TestInterruptedListsAreAskedAgain(t *testing.T) {
	tests := []struct {
		name        string
		interrupted int
		fails       error
	}{
		{"never", 0, nil},
		{"some times", 5, nil},
		{"always", attempts + 1, netlink.ErrDumpInterrupted},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			calls := 0
			got, err := consistent("things", func() ([]int, error) {
				calls++
				if calls <= test.interrupted {
					return []int{-1}, netlink.ErrDumpInterrupted
				}
				return []int{7}, nil
			})
			if !errors.Is(err, test.fails) {
				t.Fatalf("error = %v, want %v", err, test.fails)
			}
			if err == nil && (len(got) != 1 || got[0] != 7) {
				t.Errorf("list = %v, want the uninterrupted one", got)
			}
		})
	}
}

func TestOtherErrorsAreNotRetried(t *testing.T) {
	calls := 0
	_, err := consistent("things", func() ([]int, error) { calls++; return nil, unix.EPERM })
	if !errors.Is(err, unix.EPERM) || calls != 1 {
		t.Errorf("error %v after %d calls, want EPERM after 1", err, calls)
	}
}

func TestIsNotFound(t *testing.T) {
	for err, want := range map[error]bool{
		netlink.LinkNotFoundError{}: true,
		unix.ENODEV:                 true,
		unix.EPERM:                  false,
	} {
		if got := IsNotFound(fmt.Errorf("look up eth0: %w", err)); got != want {
			t.Errorf("IsNotFound(%v) = %v, want %v", err, got, want)
		}
	}
}
