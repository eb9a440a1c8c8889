// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
)

const namespace = "default"

func pod(name string) *corev1.Pod {
	grace := int64(0)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": name}},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: &grace,
			Containers:                    []corev1.Container{{Name: "tool", Image: "eastwest.local/tool", ImagePullPolicy: corev1.PullNever}},
		},
	}
}

// firstAnswer makes a client, a server and its Service, and asks the client to request the Service by its name until it
// got one answer.
func (c *cluster) firstAnswer(ctx context.Context) error {
	pods := c.client.CoreV1().Pods(namespace)
	for _, name := range []string{"web", "client"} {
		if _, err := pods.Create(ctx, pod(name), metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": "web"}, Ports: []corev1.ServicePort{{Port: 80}}},
	}
	if _, err := c.client.CoreV1().Services(namespace).Create(ctx, service, metav1.CreateOptions{}); err != nil {
		return err
	}
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		body, err := pods.ProxyGet("http", "client", "80", "request",
			map[string]string{"url": "http://web/", "timeout": "1s"}).DoRaw(ctx)
		if err != nil {
			continue
		}
		var report struct{ Hosts map[string]int }
		if err := json.Unmarshal(body, &report); err != nil {
			return fmt.Errorf("read the client's report %q: %w", body, err)
		}
		if report.Hosts["web"] == 1 {
			return nil
		}
	}
	return fmt.Errorf("no answer from http://web/ within two minutes")
}

// podTimes creates pods one after the other, each when the one before is Ready.
func (c *cluster) podTimes(ctx context.Context, count int) error {
	var times []time.Duration
	for i := range count {
		took, err := c.podTime(ctx, fmt.Sprintf("pod-%d", i))
		if err != nil {
			return err
		}
		times = append(times, took)
	}
	fmt.Printf("pod created to Ready: p50 %.0f ms, p99 %.0f ms over %d pods\n",
		percentile(times, 50).Seconds()*1000, percentile(times, 99).Seconds()*1000, count)
	return nil
}

func (c *cluster) podTime(ctx context.Context, name string) (time.Duration, error) {
	pods := c.client.CoreV1().Pods(namespace)
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	events, err := pods.Watch(ctx, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", name).String()})
	if err != nil {
		return 0, err
	}
	defer events.Stop()
	begin := time.Now()
	if _, err := pods.Create(ctx, pod(name), metav1.CreateOptions{}); err != nil {
		return 0, err
	}
	for event := range events.ResultChan() {
		seen, ok := event.Object.(*corev1.Pod)
		if !ok {
			return 0, fmt.Errorf("watch pod %s: %v", name, event.Object)
		}
		for _, condition := range seen.Status.Conditions {
			if condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue {
				return time.Since(begin), nil
			}
		}
	}
	return 0, fmt.Errorf("pod %s is not Ready within two minutes", name)
}
