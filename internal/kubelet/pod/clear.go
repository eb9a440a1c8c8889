// SPDX-License-Identifier: Apache-2.0

package pod

import (
	"context"
	"errors"
	"fmt"
	"os"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// clear removes all that is left of a stopped pod from the node, and then its object from the API.
func (w *worker) clear(ctx context.Context) {
	pod, _ := w.snapshot()
	if err := w.m.config.Status.Flush(ctx, pod.UID); err != nil {
		return
	}
	if err := errors.Join(w.clearRuntime(ctx, pod), w.release(pod), w.removeLogs(pod)); err != nil {
		w.endFailed(ctx, "clean up", err)
		return
	}
	w.mu.Lock()
	gone := w.gone
	w.mu.Unlock()
	if !gone {
		if err := w.deleteObject(ctx, pod); err != nil {
			w.endFailed(ctx, "delete the object", err)
			return
		}
	}
	w.mu.Lock()
	w.stage, w.gone = removed, true
	w.mu.Unlock()
}

func (w *worker) clearRuntime(ctx context.Context, pod *corev1.Pod) error {
	state, err := w.m.config.CRI.Observe(ctx, string(pod.UID))
	if err != nil {
		return err
	}
	var errs []error
	for i := range state.Containers {
		errs = append(errs, w.removeContainer(ctx, state.Containers[i].ID))
	}
	for i := range state.Sandboxes {
		errs = append(errs, w.removeSandbox(ctx, state.Sandboxes[i].ID))
	}
	return errors.Join(errs...)
}

// release gives back what the pod held outside of the runtime.
func (w *worker) release(pod *corev1.Pod) error {
	w.m.config.Objects.Release(string(pod.UID))
	err := w.m.config.Volumes.Teardown(string(pod.UID))
	if w.m.config.Cgroups == nil {
		return err
	}
	return errors.Join(err, w.m.config.Cgroups.Remove(w.m.config.Node.CgroupParent(pod)))
}

func (w *worker) removeLogs(pod *corev1.Pod) error {
	if err := os.RemoveAll(w.m.config.Node.LogDirectory(pod.Namespace, pod.Name, string(pod.UID))); err != nil {
		return fmt.Errorf("remove the logs: %w", err)
	}
	return nil
}

func (w *worker) deleteObject(ctx context.Context, pod *corev1.Pod) error {
	now := int64(0)
	err := w.m.config.Client.Core().Delete().Namespace(pod.Namespace).Resource("pods").Name(pod.Name).
		Body(&metav1.DeleteOptions{GracePeriodSeconds: &now, Preconditions: &metav1.Preconditions{UID: &pod.UID}}).
		Do(ctx).Error()
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}

// forget drops what other parts remember of the pod. The caller holds the lock.
func (w *worker) forget() {
	w.m.config.Probes.Forget(w.pod.UID)
	w.m.config.Status.Forget(w.pod.UID)
}
