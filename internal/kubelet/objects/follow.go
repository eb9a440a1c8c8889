// SPDX-License-Identifier: Apache-2.0

// Package objects holds the few API objects that a node's pods need, and nothing else of the cluster: single config maps and secrets, each
// watched by name while a pod uses it (all that the Node authorizer allows), and the services, trimmed, for environment variables.
package objects

import (
	"context"
	"errors"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
)

// Reference names one object of one resource.
type Reference struct{ Resource, Namespace, Name string }

// Follower reads one object and then every change of it.
type Follower struct {
	Client *rest.RESTClient
	Codec  runtime.ParameterCodec
	New    func() runtime.Object // an empty object of the kind
}

// Waits between attempts. The first are short: the authorizer of the API server learns a moment after the kubelet that a
// pod of this node uses the object, and refuses until then.
const (
	firstWait = 5 * time.Millisecond
	lastWait  = 5 * time.Second
)

// Follow calls handle with the object each time it changes, or with nil and the error when it cannot be read (absent included),
// until ctx ends.
func (f Follower) Follow(ctx context.Context, ref Reference, handle func(object runtime.Object, err error)) {
	wait := firstWait
	for ctx.Err() == nil {
		object, err := f.get(ctx, ref)
		if ctx.Err() != nil {
			return
		}
		version := ""
		if err == nil {
			version = resourceVersion(object)
			handle(object, nil)
		} else {
			handle(nil, err)
		}
		if err == nil || apierrors.IsNotFound(err) {
			if f.watch(ctx, ref, version, handle) {
				wait = firstWait
			}
		}
		sleep(ctx, wait)
		wait = min(wait*2, lastWait)
	}
}

func (f Follower) get(ctx context.Context, ref Reference) (runtime.Object, error) {
	object := f.New()
	err := f.Client.Get().NamespaceIfScoped(ref.Namespace, ref.Namespace != "").
		Resource(ref.Resource).Name(ref.Name).Do(ctx).Into(object)
	return object, err
}

// watch reports whether it received anything.
func (f Follower) watch(ctx context.Context, ref Reference, version string, handle func(runtime.Object, error)) bool {
	options := metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("metadata.name", ref.Name).String(), ResourceVersion: version, Watch: true}
	w, err := f.Client.Get().NamespaceIfScoped(ref.Namespace, ref.Namespace != "").
		Resource(ref.Resource).VersionedParams(&options, f.Codec).Watch(ctx)
	if err != nil {
		return false
	}
	defer w.Stop()
	received := false
	for event := range w.ResultChan() {
		switch event.Type {
		case watch.Added, watch.Modified:
			if resourceVersion(event.Object) != version {
				version = resourceVersion(event.Object)
				handle(event.Object, nil)
			}
		case watch.Deleted:
			version = ""
			handle(nil, apierrors.NewNotFound(groupResource(ref), ref.Name))
		case watch.Error:
			return received
		}
		received = true
	}
	return received
}

func resourceVersion(object runtime.Object) string {
	accessor, err := meta.Accessor(object)
	if err != nil {
		return ""
	}
	return accessor.GetResourceVersion()
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// errPending says that the first answer about an object has not come yet.
var errPending = errors.New("the API server has not answered yet")
