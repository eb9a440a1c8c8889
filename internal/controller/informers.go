// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"reflect"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// newInformers makes the controllers' informers. Those that run for the API server of this process serve here too: a
// second copy would cost a watch, its goroutines and every object once more, for each kind. No handler is called before
// started is closed, and none after ctx ended.
func newInformers(ctx context.Context, client kubernetes.Interface, running informers.SharedInformerFactory, started <-chan struct{}) informers.SharedInformerFactory {
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTransform(dropManagedFields))
	if running == nil {
		return factory
	}
	for kind := range running.WaitForCacheSync(closed()) {
		object, ok := reflect.New(kind.Elem()).Interface().(runtime.Object)
		if !ok {
			continue
		}
		// A factory asks for a new informer only where it has none of the kind.
		informer := running.InformerFor(object, nil)
		factory.InformerFor(object, func(kubernetes.Interface, time.Duration) cache.SharedIndexInformer {
			return borrowed{SharedIndexInformer: informer, ended: ctx.Done(), started: started}
		})
	}
	return factory
}

// closed lets a factory tell at once which of its informers run.
func closed() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

// dropManagedFields keeps what no controller reads out of the caches: it is half of many objects.
func dropManagedFields(object any) (any, error) {
	if accessor, err := meta.Accessor(object); err == nil {
		accessor.SetManagedFields(nil)
	}
	return object, nil
}

// borrowed is an informer that somebody else runs. The API server's own tells every handler of every object each ten
// minutes; a handler that is added here asks for no such thing, like the controllers of kube-controller-manager.
type borrowed struct {
	cache.SharedIndexInformer
	ended, started <-chan struct{}
}

// AddEventHandler implements cache.SharedInformer.
func (b borrowed) AddEventHandler(handler cache.ResourceEventHandler) (cache.ResourceEventHandlerRegistration, error) {
	return b.AddEventHandlerWithOptions(handler, cache.HandlerOptions{})
}

// AddEventHandlerWithResyncPeriod implements cache.SharedInformer.
func (b borrowed) AddEventHandlerWithResyncPeriod(handler cache.ResourceEventHandler, period time.Duration) (cache.ResourceEventHandlerRegistration, error) {
	return b.AddEventHandlerWithOptions(handler, cache.HandlerOptions{ResyncPeriod: &period})
}

// AddEventHandlerWithOptions implements cache.SharedInformer.
func (b borrowed) AddEventHandlerWithOptions(handler cache.ResourceEventHandler, options cache.HandlerOptions) (cache.ResourceEventHandlerRegistration, error) {
	if options.ResyncPeriod == nil {
		options.ResyncPeriod = new(time.Duration)
	}
	return b.SharedIndexInformer.AddEventHandlerWithOptions(held{handler, b.ended, b.started}, options)
}

// held keeps events back until the controllers are complete: their makers add handlers first and fill in what those use
// later, because a factory of their own would not run yet.
type held struct {
	handler        cache.ResourceEventHandler
	ended, started <-chan struct{}
}

func (h held) wait() bool {
	select {
	case <-h.started:
		return true
	case <-h.ended:
		return false
	}
}

// OnAdd implements cache.ResourceEventHandler.
func (h held) OnAdd(object any, initial bool) {
	if h.wait() {
		h.handler.OnAdd(object, initial)
	}
}

// OnUpdate implements cache.ResourceEventHandler.
func (h held) OnUpdate(before, now any) {
	if h.wait() {
		h.handler.OnUpdate(before, now)
	}
}

// OnDelete implements cache.ResourceEventHandler.
func (h held) OnDelete(object any) {
	if h.wait() {
		h.handler.OnDelete(object)
	}
}

// SetTransform implements cache.SharedInformer: the owner drops managed fields as well.
func (borrowed) SetTransform(cache.TransformFunc) error { return nil }

// Run implements cache.SharedInformer.
func (b borrowed) Run(stop <-chan struct{}) { b.RunWithContext(wait.ContextForChannel(stop)) }

// RunWithContext implements cache.SharedInformer: the owner runs it.
func (borrowed) RunWithContext(ctx context.Context) { <-ctx.Done() }
