// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
)

// waitForPods waits until the Deployment is rolled out and every client runs, and returns both kinds of pods, sorted by
// name.
func (d *Demo) waitForPods(ctx context.Context, nodes int) (servers, clients []corev1.Pod, err error) {
	ctx, cancel := context.WithTimeout(ctx, d.config.Wait)
	defer cancel()
	name := d.manifests.deployment.Name
	d.config.Progress("waiting for Deployment " + name)
	if err := d.untilRolledOut(ctx, name); err != nil {
		return nil, nil, d.whyNotReady(fmt.Errorf("wait for Deployment %s/%s: %w", d.config.Namespace, name, err))
	}
	d.config.Progress("waiting for a client pod on each node")
	err = d.untilPods(ctx, "", clientSelector, func(pods []corev1.Pod) bool {
		clients = slices.DeleteFunc(slices.Clone(pods), func(p corev1.Pod) bool { return !ready(&p) })
		return len(clients) >= nodes
	})
	if err != nil {
		return nil, nil, d.whyNotReady(fmt.Errorf("wait for client pods: %w", err))
	}
	selector := metav1.FormatLabelSelector(d.manifests.deployment.Spec.Selector)
	list, err := d.client.CoreV1().Pods(d.config.Namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, nil, fmt.Errorf("list pods of Deployment %s/%s: %w", d.config.Namespace, name, err)
	}
	servers = slices.DeleteFunc(list.Items, func(p corev1.Pod) bool { return !ready(&p) })
	byName(servers)
	byName(clients)
	return servers, clients, nil
}

func byName(pods []corev1.Pod) {
	slices.SortFunc(pods, func(a, b corev1.Pod) int { return strings.Compare(a.Name, b.Name) })
}

func ready(pod *corev1.Pod) bool {
	return pod.DeletionTimestamp == nil && slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// untilRolledOut waits until all replicas are of the newest kind and available, and no older one is left.
func (d *Demo) untilRolledOut(ctx context.Context, name string) error {
	deployments := d.client.AppsV1().Deployments(d.config.Namespace)
	source := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.FieldSelector = "metadata.name=" + name
			return deployments.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.FieldSelector = "metadata.name=" + name
			return deployments.Watch(ctx, o)
		},
	}
	_, err := watchtools.UntilWithSync(ctx, source, &appsv1.Deployment{}, nil, func(event watch.Event) (bool, error) {
		deployment, ok := event.Object.(*appsv1.Deployment)
		if event.Type == watch.Deleted {
			return false, errors.New("it was deleted meanwhile")
		}
		return ok && rolledOut(deployment), nil
	})
	return err
}

func rolledOut(d *appsv1.Deployment) bool {
	s, want := d.Status, int32(1)
	if d.Spec.Replicas != nil {
		want = *d.Spec.Replicas
	}
	return s.ObservedGeneration >= d.Generation && s.UpdatedReplicas == want && s.Replicas == want && s.AvailableReplicas == want
}

// untilPods follows the pods that match until done says so.
func (d *Demo) untilPods(ctx context.Context, fieldSelector, labels string, done func([]corev1.Pod) bool) error {
	pods := d.client.CoreV1().Pods(d.config.Namespace)
	source := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.FieldSelector, o.LabelSelector = fieldSelector, labels
			return pods.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.FieldSelector, o.LabelSelector = fieldSelector, labels
			return pods.Watch(ctx, o)
		},
	}
	have := map[string]corev1.Pod{}
	check := func() bool {
		list := make([]corev1.Pod, 0, len(have))
		for _, pod := range have {
			list = append(list, pod)
		}
		return done(list)
	}
	precondition := func(store cache.Store) (bool, error) { return len(store.ListKeys()) == 0 && check(), nil }
	_, err := watchtools.UntilWithSync(ctx, source, &corev1.Pod{}, precondition, func(event watch.Event) (bool, error) {
		if pod, ok := event.Object.(*corev1.Pod); ok {
			have[pod.Name] = *pod
			if event.Type == watch.Deleted {
				delete(have, pod.Name)
			}
		}
		return check(), nil
	})
	return err
}

// whyNotReady adds what the pods that are not ready say to an error. It asks anew, as the wait's own time is over.
func (d *Demo) whyNotReady(err error) error {
	ctx, cancel := context.WithTimeout(context.Background(), d.config.Wait)
	defer cancel()
	list, listErr := d.client.CoreV1().Pods(d.config.Namespace).List(ctx, metav1.ListOptions{LabelSelector: "app in (nginx, demo-client)"})
	if listErr != nil {
		return err
	}
	for i := range list.Items {
		if pod := &list.Items[i]; !ready(pod) {
			err = errors.Join(err, fmt.Errorf("pod %s on node %q is not ready: %s", pod.Name, pod.Spec.NodeName, reasonOf(pod)))
		}
	}
	return err
}

func reasonOf(pod *corev1.Pod) string {
	for _, status := range pod.Status.ContainerStatuses {
		switch {
		case status.State.Waiting != nil:
			return strings.TrimSuffix(status.State.Waiting.Reason+": "+status.State.Waiting.Message, ": ")
		case status.State.Terminated != nil:
			return fmt.Sprintf("ended with code %d: %s", status.State.Terminated.ExitCode, status.State.Terminated.Reason)
		}
	}
	for _, c := range pod.Status.Conditions {
		if c.Status == corev1.ConditionFalse && c.Message != "" {
			return fmt.Sprintf("%s: %s", c.Reason, c.Message)
		}
	}
	return "phase " + string(pod.Status.Phase)
}
