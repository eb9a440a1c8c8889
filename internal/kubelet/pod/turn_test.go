// SPDX-License-Identifier: Apache-2.0

package pod

import (
	"context"
	"testing"
)

// A turn that nobody gives back is over by itself, and one that is given back twice is free once.
func TestTurnsComeBack(t *testing.T) {
	all := make(turns, 1)
	all.take(t.Context())
	end := all.take(t.Context())
	end()
	end()
	end = all.take(t.Context())
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	all.take(ended)()
	if len(all) != 1 {
		t.Errorf("%d turns are taken, want 1", len(all))
	}
	end()
	if len(all) != 0 {
		t.Errorf("%d turns are taken, want none", len(all))
	}
}
