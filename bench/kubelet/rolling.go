// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

const replicas = 3

// roll updates a Deployment twice while its Service is asked over new connections.
func (c *cluster) roll(ctx context.Context) error {
	url, err := c.web(ctx)
	if err != nil {
		return err
	}
	t := newTraffic(url)
	asked, stop := context.WithCancel(ctx)
	var done sync.WaitGroup
	done.Go(func() { t.run(asked, c.rate) })
	begin := time.Now()
	for i := range 2 {
		time.Sleep(time.Second)
		patch := fmt.Sprintf(`{"spec":{"template":{"metadata":{"annotations":{"generation":"%d"}}}}}`, i)
		if _, err = c.client.AppsV1().Deployments(metav1.NamespaceDefault).Patch(ctx, "web", types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
			break
		}
		if err = c.rolledOut(ctx); err != nil {
			break
		}
	}
	time.Sleep(time.Second)
	stop()
	done.Wait()
	sent, failed := t.sent.Load(), t.failed.Load()
	fmt.Printf("two rolling updates of %d replicas: %d new connections, %.0f a second, %d failed\n", replicas, sent, float64(sent)/time.Since(begin).Seconds(), failed)
	for _, text := range slices.Sorted(maps.Keys(t.problems)) {
		fmt.Printf("  %6d  %s, from %.1f s to %.1f s\n", t.problems[text].count, text, t.problems[text].from.Sub(begin).Seconds(), t.problems[text].to.Sub(begin).Seconds())
	}
	return err
}

// web makes the Deployment and a Service, and returns the Service's URL at a node.
func (c *cluster) web(ctx context.Context) (string, error) {
	labels := map[string]string{"app": "web"}
	count, grace, none := int32(replicas), int64(10), intstr.FromInt32(0)
	template := pod("web").Spec
	template.TerminationGracePeriodSeconds = &grace
	template.Containers[0].Args = []string{"serve", "--drain", "2s"}
	template.Containers[0].ReadinessProbe = &corev1.Probe{
		ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Port: intstr.FromInt32(80)}}, PeriodSeconds: 1,
	}
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: appsv1.DeploymentSpec{
		Replicas: &count, Selector: &metav1.LabelSelector{MatchLabels: labels},
		Strategy: appsv1.DeploymentStrategy{RollingUpdate: &appsv1.RollingUpdateDeployment{MaxUnavailable: &none}},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: template},
	}}
	if _, err := c.client.AppsV1().Deployments(metav1.NamespaceDefault).Create(ctx, deployment, metav1.CreateOptions{}); err != nil {
		return "", err
	}
	service, err := c.client.CoreV1().Services(metav1.NamespaceDefault).Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Selector: labels, Ports: []corev1.ServicePort{{Port: 80}}},
	}, metav1.CreateOptions{})
	if err != nil {
		return "", err
	}
	nodes, err := c.nodes()
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("http://%s:%d/hostname", nodes[0].Address, service.Spec.Ports[0].NodePort), c.rolledOut(ctx)
}

func (c *cluster) rolledOut(ctx context.Context) error {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		d, err := c.client.AppsV1().Deployments(metav1.NamespaceDefault).Get(ctx, "web", metav1.GetOptions{})
		if err != nil {
			return err
		}
		s := d.Status
		if s.ObservedGeneration >= d.Generation && s.UpdatedReplicas == replicas && s.AvailableReplicas == replicas && s.Replicas == replicas {
			return nil
		}
	}
	return fmt.Errorf("the Deployment is not rolled out after %s", patience)
}

// traffic asks a URL, each time over a new connection.
type traffic struct {
	url          string
	client       http.Client
	sent, failed atomic.Int64
	mu           sync.Mutex
	problems     map[string]problem
}

// problem is a kind of failure.
type problem struct {
	count    int
	from, to time.Time
}

func newTraffic(url string) *traffic {
	return &traffic{url: url, problems: map[string]problem{}, client: http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}}
}

// run sends as many requests a second as rate says, whether those before were answered or not.
func (t *traffic) run(ctx context.Context, rate int) {
	var group sync.WaitGroup
	begin := time.Now()
	for i := 0; ctx.Err() == nil; i++ {
		time.Sleep(time.Until(begin.Add(time.Duration(i) * time.Second / time.Duration(rate))))
		group.Go(t.ask)
	}
	group.Wait()
}

func (t *traffic) ask() {
	t.sent.Add(1)
	answer, err := t.client.Get(t.url)
	if err == nil {
		_, err = io.Copy(io.Discard, answer.Body)
		err = errors.Join(err, answer.Body.Close())
	}
	if err != nil {
		t.failed.Add(1)
		t.note(err)
	}
}

// note counts failures of a kind; the client's own address is no part of it.
func (t *traffic) note(err error) {
	text := err.Error()
	if inner := errors.Unwrap(err); inner != nil {
		text = inner.Error()
	}
	if i := strings.LastIndex(text, "->"); i >= 0 {
		text = text[i:]
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.problems[text]
	if p.count++; p.count == 1 {
		p.from = time.Now()
	}
	p.to = time.Now()
	t.problems[text] = p
}
