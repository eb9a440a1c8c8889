// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	ktesting "k8s.io/client-go/testing"
)

func withNamespace() kubernetes.Interface {
	return fake.NewClientset(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: metav1.NamespaceSystem}})
}

// Of two servers one runs the controllers; the other does when the first is stopped, and never before it has ended.
func TestOneServerLeads(t *testing.T) {
	client := withNamespace()
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
	client, broken := withNamespace(), errors.New("broken")
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
	if err := elected(ctx, withNamespace(), func(context.Context) error { t.Error("it leads"); return nil }); err != nil {
		t.Error(err)
	}
}

// A server that stands before the Lease can be made leads as soon as it can, not a period later.
func TestElectionAwaitsItsNamespace(t *testing.T) {
	client := fake.NewClientset()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	var there, refused atomic.Bool
	client.PrependReactor("create", "leases", func(ktesting.Action) (bool, runtime.Object, error) {
		if there.Load() {
			return false, nil, nil
		}
		refused.Store(true)
		return true, nil, errors.New("namespaces \"kube-system\" not found")
	})
	go func() {
		ended <- elected(ctx, client, func(context.Context) error { stop(); return nil })
	}()
	for len(client.Actions()) < 3 {
		time.Sleep(time.Millisecond)
	}
	there.Store(true)
	if _, err := client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: metav1.NamespaceSystem}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil || refused.Load() {
		t.Errorf("%v; refused: %v", err, refused.Load())
	}
}
