// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestStopIsWaitedForAWhile(t *testing.T) {
	fails := errors.New("fails")
	if err := within(t.Context(), time.Hour, func(context.Context) error { return fails }); !errors.Is(err, fails) {
		t.Errorf("ended by itself: %v, want %v", err, fails)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := within(ctx, time.Hour, func(ctx context.Context) error { <-ctx.Done(); return fails }); !errors.Is(err, fails) {
		t.Errorf("ended when told to: %v, want %v", err, fails)
	}
	hangs := make(chan struct{})
	defer close(hangs)
	if err := within(ctx, time.Millisecond, func(context.Context) error { <-hangs; return nil }); err == nil {
		t.Error("what does not end is no error")
	}
}
