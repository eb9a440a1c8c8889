// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"k8s.io/client-go/kubernetes/fake"
)

// Of two servers one runs the controllers; the other does when the first is stopped, and never before it has ended.
func TestOneServerLeads(t *testing.T) {
	client := fake.NewClientset()
	var leaders atomic.Int32
	stand := func(ctx context.Context) (leads chan struct{}, ended chan error) {
		leads, ended = make(chan struct{}), make(chan error, 1)
		go func() {
			ended <- elected(ctx, client, func(ctx context.Context) error {
				if leaders.Add(1) != 1 {
					t.Error("two servers lead at once")
				}
				close(leads)
				<-ctx.Done()
				leaders.Add(-1)
				return nil
			})
		}()
		return leads, ended
	}
	first, stop := context.WithCancel(t.Context())
	leads, ended := stand(first)
	<-leads
	second, stopSecond := context.WithCancel(t.Context())
	next, endedToo := stand(second)
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	<-next
	stopSecond()
	if err := <-endedToo; err != nil {
		t.Error(err)
	}
}

// What fails while it leads fails the server, and leaves the Lease to others.
func TestLeaderFails(t *testing.T) {
	client, broken := fake.NewClientset(), errors.New("broken")
	if err := elected(t.Context(), client, func(context.Context) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
	ctx, stop := context.WithCancel(t.Context())
	if err := elected(ctx, client, func(context.Context) error { stop(); return nil }); err != nil {
		t.Error(err)
	}
}

// A server that is stopped before it leads just ends.
func TestNeverElected(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := elected(ctx, fake.NewClientset(), func(context.Context) error { t.Error("it leads"); return nil }); err != nil {
		t.Error(err)
	}
}
