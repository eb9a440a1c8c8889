// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/cache"
)

// runningServices returns a factory whose informer of Services runs and knows one, as the API server's does when the
// controllers are made.
func runningServices(t *testing.T) (*fake.Clientset, informers.SharedInformerFactory) {
	client := fake.NewClientset(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "there"}})
	factory := informers.NewSharedInformerFactory(client, time.Minute)
	factory.Core().V1().Services().Informer()
	ctx, stop := context.WithCancel(t.Context())
	t.Cleanup(func() {
		stop()
		factory.Shutdown() // hangs if a handler does
	})
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	return client, factory
}

// A maker of a controller may add handlers before what they use is there.
func TestHandlersWaitForTheControllers(t *testing.T) {
	client, running := runningServices(t)
	started := make(chan struct{})
	var made atomic.Bool
	added, early := make(chan any, 1), make(chan any, 1)
	ours := newInformers(t.Context(), client, running, started)
	registration, err := ours.Core().V1().Services().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: func(object any) {
		if made.Load() {
			added <- object
		} else {
			early <- object
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-early:
		t.Fatal("a handler was called before the controllers started")
	case <-time.After(50 * time.Millisecond):
	}
	if registration.HasSynced() {
		t.Error("a handler that was told of nothing counts as synced")
	}
	made.Store(true)
	close(started)
	<-added
	if !cache.WaitForCacheSync(t.Context().Done(), registration.HasSynced) {
		t.Error("the handler never synced")
	}
}

// Controllers that could not be made leave no handler behind that holds up the informer's owner.
func TestHandlersEndWithTheControllers(t *testing.T) {
	client, running := runningServices(t)
	ctx, stop := context.WithCancel(t.Context())
	ours := newInformers(ctx, client, running, make(chan struct{}))
	_, err := ours.Core().V1().Services().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: func(any) {
		t.Error("a handler was called")
	}})
	if err != nil {
		t.Fatal(err)
	}
	stop()
}
