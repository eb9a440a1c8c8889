// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const patience = 2 * time.Minute

func pod(name string) *corev1.Pod {
	grace := int64(0)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"bench": "kubelet"}},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: &grace,
			Containers:                    []corev1.Container{{Name: "tool", Image: "eastwest.local/tool", ImagePullPolicy: corev1.PullNever}},
		},
	}
}

// start measures one side.
func (c *cluster) start(ctx context.Context, s side) error {
	workers, err := c.workersOnly(ctx)
	if err != nil {
		return err
	}
	if s.genuine {
		if err := c.replaceKubelets(ctx, workers); err != nil {
			return err
		}
	}
	// The first pods find nothing in caches.
	if _, err := c.create(ctx, "warm", 2, 0); err != nil {
		return err
	}
	single, err := c.create(ctx, "single", c.pods, time.Second)
	if err != nil {
		return err
	}
	if err := c.clear(ctx); err != nil {
		return err
	}
	burst, err := c.measured(ctx, "burst", c.burst)
	if err != nil {
		return err
	}
	fmt.Printf("%-46s %9.0f ms %9.0f ms %12.1f s\n", s.title, milliseconds(percentile(single, 50)), milliseconds(percentile(single, 99)),
		slices.Max(burst).Seconds())
	before, err := c.cpu()
	if err != nil {
		return err
	}
	if err := c.clear(ctx); err != nil {
		return err
	}
	return c.printCPU("ending", before, c.burst)
}

// measured creates pods at once and prints what each took of the processors until all were Ready.
func (c *cluster) measured(ctx context.Context, prefix string, count int) ([]time.Duration, error) {
	before, err := c.cpu()
	if err != nil {
		return nil, err
	}
	times, err := c.create(ctx, prefix, count, 0)
	if err != nil {
		return nil, err
	}
	return times, c.printCPU("starting", before, count)
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func percentile(times []time.Duration, p int) time.Duration {
	sorted := slices.Sorted(slices.Values(times))
	return sorted[min(len(sorted)-1, len(sorted)*p/100)]
}

// create creates pods, one every period or as fast as it can, and returns when each was Ready: after its own creation, or with no period
// after the first one's.
func (c *cluster) create(ctx context.Context, prefix string, count int, period time.Duration) ([]time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, patience+time.Duration(count)*period)
	defer cancel()
	created, failed := make(chan map[string]time.Time, 1), make(chan error, 1)
	go func() {
		begun, err := c.begin(ctx, prefix, count, period)
		if err != nil {
			failed <- err
			cancel()
			return
		}
		created <- begun
	}()
	ready := map[string]time.Time{}
	for ctx.Err() == nil && len(ready) < count {
		if err := c.follow(ctx, prefix, count, ready); err != nil {
			return nil, err
		}
	}
	select {
	case err := <-failed:
		return nil, fmt.Errorf("create a pod: %w", err)
	default:
	}
	if len(ready) < count {
		return nil, fmt.Errorf("%d of %d pods were Ready in time", len(ready), count)
	}
	return differences(<-created, ready), nil
}

// begin creates the pods and returns when each was asked for.
func (c *cluster) begin(ctx context.Context, prefix string, count int, period time.Duration) (map[string]time.Time, error) {
	begun := map[string]time.Time{}
	first := time.Now()
	for i := range count {
		time.Sleep(time.Until(first.Add(time.Duration(i) * period)))
		at := time.Now()
		if period == 0 {
			at = first
		}
		name := fmt.Sprintf("%s-%d", prefix, i)
		begun[name] = at
		if _, err := c.client.CoreV1().Pods(metav1.NamespaceDefault).Create(ctx, pod(name), metav1.CreateOptions{}); err != nil {
			return nil, err
		}
	}
	return begun, nil
}

// follow notes when pods are Ready, until all are or the watch ends, as a server may have it when it is busy.
func (c *cluster) follow(ctx context.Context, prefix string, count int, ready map[string]time.Time) error {
	see := func(p *corev1.Pod) bool {
		if isReady(p) && ready[p.Name].IsZero() && matches(p.Name, prefix) {
			ready[p.Name] = time.Now()
		}
		return len(ready) == count
	}
	pods := c.client.CoreV1().Pods(metav1.NamespaceDefault)
	list, err := pods.List(ctx, metav1.ListOptions{LabelSelector: "bench=kubelet"})
	if err != nil {
		return err
	}
	for i := range list.Items {
		if see(&list.Items[i]) {
			return nil
		}
	}
	events, err := pods.Watch(ctx, metav1.ListOptions{LabelSelector: "bench=kubelet", ResourceVersion: list.ResourceVersion})
	if err != nil {
		return err
	}
	defer events.Stop()
	for event := range events.ResultChan() {
		if p, ok := event.Object.(*corev1.Pod); ok && see(p) {
			return nil
		}
	}
	return nil
}

func matches(name, prefix string) bool {
	return len(name) > len(prefix) && name[:len(prefix)+1] == prefix+"-"
}

func isReady(p *corev1.Pod) bool {
	for _, condition := range p.Status.Conditions {
		if condition.Type == corev1.PodReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}

func differences(begun, ready map[string]time.Time) []time.Duration {
	times := make([]time.Duration, 0, len(ready))
	for name, at := range ready {
		times = append(times, at.Sub(begun[name]))
	}
	return times
}

// clear deletes all pods and waits until none is left.
func (c *cluster) clear(ctx context.Context) error {
	pods := c.client.CoreV1().Pods(metav1.NamespaceDefault)
	selector := metav1.ListOptions{LabelSelector: "bench=kubelet"}
	if err := pods.DeleteCollection(ctx, metav1.DeleteOptions{}, selector); err != nil {
		return fmt.Errorf("delete the pods: %w", err)
	}
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		list, err := pods.List(ctx, selector)
		if err == nil && len(list.Items) == 0 {
			return nil
		}
	}
	return fmt.Errorf("pods are not gone after %s", patience)
}
