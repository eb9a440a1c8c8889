// SPDX-License-Identifier: Apache-2.0

package static

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const writeTimeout = 10 * time.Second

// Mirror tells what the API shows.
func (s *Source) Mirror(mirror *corev1.Pod) {
	s.mu.Lock()
	s.mirrors[fullName(mirror)] = mirror
	pod := s.running[types.UID(mirror.Annotations[corev1.MirrorPodAnnotationKey])]
	s.mu.Unlock()
	if pod != nil && fullName(pod) == fullName(mirror) {
		shown := pod.DeepCopy()
		shown.Status, shown.ResourceVersion = mirror.Status, mirror.ResourceVersion
		s.config.Shown(shown)
	}
	s.wake()
}

// MirrorGone tells that the API shows it no longer.
func (s *Source) MirrorGone(mirror *corev1.Pod) {
	s.mu.Lock()
	if now := s.mirrors[fullName(mirror)]; now != nil && now.UID == mirror.UID {
		delete(s.mirrors, fullName(mirror))
	}
	s.mu.Unlock()
	s.wake()
}

// Listed tells that all mirrors that the API had at the start have been told.
func (s *Source) Listed() {
	s.mu.Lock()
	s.listed = true
	s.mu.Unlock()
	s.wake()
}

// MirrorOf returns the UID that the API knows a static pod by; ok is false while it does not show it.
func (s *Source) MirrorOf(pod *corev1.Pod) (uid types.UID, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	mirror := s.mirrors[fullName(pod)]
	if mirror == nil || mirror.Annotations[corev1.MirrorPodAnnotationKey] != string(pod.UID) {
		return "", false
	}
	return mirror.UID, true
}

// mirror has the API show each pod that runs, and none else. It returns false when something did not work, or is yet to be seen.
func (s *Source) mirror(ctx context.Context) bool {
	create, remove, known := s.compare()
	if !known {
		return len(s.files) == 0
	}
	for _, pod := range remove {
		if err := s.remove(ctx, pod); err != nil && ctx.Err() == nil {
			s.config.Log.Warn("mirror pod not removed, will retry", "pod", fullName(pod), "error", err)
		}
	}
	for _, pod := range create {
		if err := s.create(ctx, pod); err != nil && ctx.Err() == nil {
			s.config.Log.Warn("static pod is not shown by the API, will retry", "pod", fullName(pod), "error", err)
		}
	}
	return len(create)+len(remove) == 0
}

func (s *Source) compare() (create, remove []*corev1.Pod, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.listed || s.config.Owner() == "" {
		return nil, nil, false
	}
	right := map[string]bool{}
	for _, pod := range s.files {
		if s.running[pod.UID] == nil {
			continue
		}
		mirror := s.mirrors[fullName(pod)]
		if mirror == nil {
			create = append(create, pod)
		} else if mirror.Annotations[corev1.MirrorPodAnnotationKey] == string(pod.UID) && mirror.DeletionTimestamp == nil {
			right[fullName(pod)] = true
		}
	}
	for name, mirror := range s.mirrors {
		if !right[name] {
			remove = append(remove, mirror)
		}
	}
	return create, remove, true
}

func (s *Source) create(ctx context.Context, pod *corev1.Pod) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	yes := true
	mirror := pod.DeepCopy()
	mirror.UID, mirror.ResourceVersion, mirror.Generation = "", "", 0
	mirror.Annotations[corev1.MirrorPodAnnotationKey] = string(pod.UID)
	mirror.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: s.config.Node, UID: s.config.Owner(), Controller: &yes}}
	err := s.config.Client.Core().Post().Namespace(pod.Namespace).Resource("pods").Body(mirror).Do(ctx).Error()
	if err != nil {
		return fmt.Errorf("create mirror pod: %w", err)
	}
	return nil
}

func (s *Source) remove(ctx context.Context, mirror *corev1.Pod) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	now := int64(0)
	err := s.config.Client.Core().Delete().Namespace(mirror.Namespace).Resource("pods").Name(mirror.Name).
		Body(&metav1.DeleteOptions{GracePeriodSeconds: &now, Preconditions: &metav1.Preconditions{UID: &mirror.UID}}).Do(ctx).Error()
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}
