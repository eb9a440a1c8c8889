// SPDX-License-Identifier: Apache-2.0

package node

import (
	"cmp"
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// A Node's object lists the largest images, and of each a few names: the scheduler prefers nodes that have an image.
const (
	maxImages     = 50
	maxImageNames = 5
)

// offer is what the runtime of this node has for pods.
type offer struct {
	handlers []corev1.NodeRuntimeHandler
	features *corev1.NodeFeatures
	images   []corev1.ContainerImage
	known    bool // the runtime has said what it can do
}

// can takes over what the runtime says of its abilities.
func (r *Reporter) can(answer *runtimeapi.StatusResponse) {
	var handlers []corev1.NodeRuntimeHandler
	for _, h := range answer.GetRuntimeHandlers() {
		f := h.GetFeatures()
		handlers = append(handlers, corev1.NodeRuntimeHandler{Name: h.GetName(), Features: &corev1.NodeRuntimeHandlerFeatures{
			RecursiveReadOnlyMounts: new(f.GetRecursiveReadOnlyMounts()), UserNamespaces: new(f.GetUserNamespaces())}})
	}
	slices.SortFunc(handlers, func(a, b corev1.NodeRuntimeHandler) int { return cmp.Compare(a.Name, b.Name) })
	var features *corev1.NodeFeatures
	if f := answer.GetFeatures(); f != nil {
		features = &corev1.NodeFeatures{SupplementalGroupsPolicy: new(f.GetSupplementalGroupsPolicy())}
	}
	r.mu.Lock()
	r.offer.handlers, r.offer.features, r.offer.known = handlers, features, true
	r.mu.Unlock()
}

// look asks the runtime which images it has, and returns what the node offers. What is not answered is as before.
func (r *Reporter) look(ctx context.Context) offer {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	answer, err := r.config.Images.ListImages(ctx, &runtimeapi.ListImagesRequest{})
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil {
		r.offer.images = largest(answer.GetImages())
	}
	return r.offer
}

func largest(list []*runtimeapi.Image) []corev1.ContainerImage {
	var out []corev1.ContainerImage
	for _, image := range list {
		names := slices.Concat(image.GetRepoDigests(), image.GetRepoTags())
		if len(names) > 0 {
			out = append(out, corev1.ContainerImage{Names: names[:min(len(names), maxImageNames)], SizeBytes: int64(image.GetSize())})
		}
	}
	slices.SortFunc(out, func(a, b corev1.ContainerImage) int {
		return cmp.Or(cmp.Compare(b.SizeBytes, a.SizeBytes), cmp.Compare(a.Names[0], b.Names[0]))
	})
	return out[:min(len(out), maxImages)]
}

func (o offer) equal(other offer) bool {
	return equality.Semantic.DeepEqual([]any{o.handlers, o.features, o.images}, []any{other.handlers, other.features, other.images})
}

// SupplementalGroups says whether the runtime can give a container no groups but those that its pod names. A runtime that has not answered yet is not
// taken for one that cannot.
func (r *Reporter) SupplementalGroups() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.offer.known || r.offer.features != nil && *r.offer.features.SupplementalGroupsPolicy
}

// RecursiveReadOnly says whether a handler of the runtime can make mounts read-only with what is mounted below them.
func (r *Reporter) RecursiveReadOnly(handler string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.offer.handlers, func(h corev1.NodeRuntimeHandler) bool {
		return h.Name == handler && *h.Features.RecursiveReadOnlyMounts
	})
}
