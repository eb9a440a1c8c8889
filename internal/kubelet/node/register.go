// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	goruntime "runtime"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"eastwest/internal/kubelet/objects"
)

func (r *Reporter) labels() map[string]string {
	labels := maps.Clone(r.config.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[corev1.LabelHostname] = r.config.Name
	labels[corev1.LabelOSStable], labels["beta.kubernetes.io/os"] = "linux", "linux"
	labels[corev1.LabelArchStable], labels["beta.kubernetes.io/arch"] = goruntime.GOARCH, goruntime.GOARCH
	return labels
}

// register makes the Node object, or brings the labels of the one that is there up to date.
func (r *Reporter) register(ctx context.Context, status corev1.NodeStatus) error {
	node := &corev1.Node{Status: status}
	node.Name, node.Labels, node.Spec.Taints = r.config.Name, r.labels(), r.config.Taints
	created := &corev1.Node{}
	err := r.config.Client.Core().Post().Resource("nodes").Body(node).Do(ctx).Into(created)
	if apierrors.IsAlreadyExists(err) {
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": node.Labels}})
		if err != nil {
			return fmt.Errorf("encode the labels of node %s: %w", node.Name, err)
		}
		err = r.config.Client.Core().Patch(types.StrategicMergePatchType).Resource("nodes").Name(node.Name).Body(patch).Do(ctx).Into(created)
		if err != nil {
			return fmt.Errorf("update the labels of node %s: %w", node.Name, err)
		}
	} else if err != nil {
		return fmt.Errorf("register node %s: %w", node.Name, err)
	}
	r.mu.Lock()
	r.uid, r.object = string(created.UID), created
	r.mu.Unlock()
	return nil
}

// watch notices that the Node object was deleted, and has it registered again.
func (r *Reporter) watch(ctx context.Context) {
	follower := objects.Follower{Client: r.config.Client.Core(), Codec: r.config.Client.Parameters(),
		New: func() runtime.Object { return &corev1.Node{} }}
	seen := false
	follower.Follow(ctx, objects.Reference{Resource: "nodes", Name: r.config.Name}, func(object runtime.Object, err error) {
		switch {
		case err == nil:
			seen = true
			r.mu.Lock()
			r.object = object.(*corev1.Node)
			r.uid = string(r.object.UID)
			r.mu.Unlock()
		case apierrors.IsNotFound(err) && seen:
			r.mu.Lock()
			r.uid, r.object = "", nil
			r.mu.Unlock()
			r.Look()
		}
	})
}

// Look makes the status be examined now.
func (r *Reporter) Look() {
	select {
	case r.again <- struct{}{}:
	default:
	}
}

// Object returns the Node's object as it was last heard of, or, where that is asked for, as the API has it now; nil when it is not known. Callers
// must not change it.
func (r *Reporter) Object(ctx context.Context, ask bool) *corev1.Node {
	if ask {
		ctx, cancel := context.WithTimeout(ctx, readTimeout)
		defer cancel()
		now := &corev1.Node{}
		if err := r.config.Client.Core().Get().Resource("nodes").Name(r.config.Name).Do(ctx).Into(now); err == nil {
			return now
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.object
}

// UID returns that of the Node's object, empty while it has none.
func (r *Reporter) UID() types.UID { return r.identity() }

func (r *Reporter) identity() types.UID {
	r.mu.Lock()
	defer r.mu.Unlock()
	return types.UID(r.uid)
}
