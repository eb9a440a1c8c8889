// SPDX-License-Identifier: Apache-2.0

package cri

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Intervals of looking whether a process listens by now.
const (
	firstLook = 5 * time.Millisecond
	lastLook  = 250 * time.Millisecond
)

// becoming is how long after a start its process may still be about to become the container's program.
const becoming = 500 * time.Millisecond

// ask sends a container the signal to end and waits for that, for the grace at most. The kernel drops signals to the
// first process of a process namespace that has no handler for them. One that is stopped right after its start may be
// about to install one, and would be left to run for all of the grace: it is asked again when it can hear.
func ask(ctx context.Context, c *container, rec containerRecord, grace time.Duration) (ended bool, err error) {
	sig := stopSignal(rec)
	asked, heard := programOf(rec.PID), rec.SharedPID || hears(rec.PID, sig)
	if err := signalContainer(rec, sig); err != nil {
		return false, err
	}
	limit := time.Now().Add(grace)
	// Who had the handlers may have been the program before, runc, which the container's follows a moment after its files are
	// closed, and which may have its own by the next look.
	for heard && !rec.SharedPID && time.Since(rec.Started) < becoming && time.Until(limit) > firstLook {
		if ended, err := waitEnded(ctx, c, firstLook); ended || err != nil {
			return ended, err
		}
		heard = hears(rec.PID, sig) && programOf(rec.PID) == asked
	}
	for look := firstLook; !heard && time.Until(limit) > look; look = min(2*look, lastLook) {
		if ended, err := waitEnded(ctx, c, look); ended || err != nil {
			return ended, err
		}
		if heard = hears(rec.PID, sig); heard {
			if err := signalContainer(rec, sig); err != nil {
				return false, err
			}
		}
	}
	return waitEnded(ctx, c, time.Until(limit))
}

// programOf names the file that a process executes; "" when it has ended.
func programOf(pid int) string {
	file, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	return file
}

// hears reports whether a process gets a signal: it has a handler for it, or holds it back for later.
func hears(pid int, sig syscall.Signal) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	return err == nil && hearsByStatus(string(text), sig)
}

// hearsByStatus reads /proc/PID/status, whose masks have signal 1 in their lowest bit.
func hearsByStatus(status string, sig syscall.Signal) bool {
	for line := range strings.Lines(status) {
		key, mask, _ := strings.Cut(line, ":")
		if key != "SigCgt" && key != "SigBlk" {
			continue
		}
		bits, err := strconv.ParseUint(strings.TrimSpace(mask), 16, 64)
		if err == nil && bits&(1<<(sig-1)) != 0 {
			return true
		}
	}
	return false
}
