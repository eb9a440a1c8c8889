// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"testing"
	"testing/synctest"
	"time"
)

// Of a thousand changes a second many are taken together, and none waits longer than Most; those that come alone, also
// after many that came together, do not wait at all.
func TestPacerGathers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pacer := Pacer{Least: 4 * time.Millisecond, Most: 32 * time.Millisecond}
		begin, works := time.Now(), 0
		for arrived := time.Duration(0); arrived < time.Second; arrived = time.Since(begin).Truncate(time.Millisecond) + time.Millisecond {
			time.Sleep(time.Until(begin.Add(arrived)))
			pacer.Wait(t.Context())
			if waited := time.Since(begin) - arrived; waited > pacer.Most {
				t.Fatalf("a change waited for %s", waited)
			}
			works++
		}
		if works > 50 {
			t.Errorf("1000 changes were %d pieces of work", works)
		}
		for range 3 {
			time.Sleep(pacer.Most)
			at := time.Now()
			if pacer.Wait(t.Context()); time.Since(at) > 0 {
				t.Errorf("a change that came alone waited for %s", time.Since(at))
			}
		}
	})
}
