// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"
)

const gate = "bench.eastwest.local/gate"

// workload is a pod on one node that is ready when a condition says so, and its Service.
type workload struct {
	client   kubernetes.Interface
	eastwest string
	address  [4]byte // of the Service
	netns    string  // of the other node
	filled   int
}

func (w *workload) start(ctx context.Context) error {
	out, err := exec.Command(w.eastwest, "node", "list", "--name", name, "-o", "json").Output()
	if err != nil {
		return fmt.Errorf("list nodes: %w", err)
	}
	var nodes []struct {
		Name      string
		Processes map[string]int
	}
	if err := json.Unmarshal(out, &nodes); err != nil {
		return err
	}
	w.netns = fmt.Sprintf("/proc/%d/ns/net", nodes[0].Processes["agent"])
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Labels: map[string]string{"app": "web"}},
		Spec: corev1.PodSpec{
			NodeName:       nodes[1].Name,
			ReadinessGates: []corev1.PodReadinessGate{{ConditionType: gate}},
			Containers:     []corev1.Container{{Name: "tool", Image: "eastwest.local/tool", ImagePullPolicy: corev1.PullNever}},
		},
	}
	if _, err := w.client.CoreV1().Pods("default").Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		return err
	}
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: corev1.ServiceSpec{
		Selector: map[string]string{"app": "web"}, Ports: []corev1.ServicePort{{Port: 80}}}}
	service, err = w.client.CoreV1().Services("default").Create(ctx, service, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	_, err = fmt.Sscanf(service.Spec.ClusterIP, "%d.%d.%d.%d", &w.address[0], &w.address[1], &w.address[2], &w.address[3])
	return err
}

// fill makes Services with an endpoint each until there are that many.
func (w *workload) fill(ctx context.Context, services int) error {
	var group errgroup.Group
	group.SetLimit(32)
	for i := w.filled; i < services; i++ {
		group.Go(func() error { return w.one(ctx, i) })
	}
	w.filled = services
	err := group.Wait()
	// Agents and controllers are done with them soon after.
	time.Sleep(10 * time.Second)
	return err
}

func (w *workload) one(ctx context.Context, i int) error {
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("other-%d", i)}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: service.Name, Labels: map[string]string{discoveryv1.LabelServiceName: service.Name}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{fmt.Sprintf("10.244.%d.%d", 100+i/250, 1+i%250)}}},
		Ports:       []discoveryv1.EndpointPort{{Port: ptr.To[int32](80), Protocol: ptr.To(corev1.ProtocolTCP)}},
	}
	if _, err := w.client.CoreV1().Services("default").Create(ctx, service, metav1.CreateOptions{}); err != nil {
		return err
	}
	_, err := w.client.DiscoveryV1().EndpointSlices("default").Create(ctx, slice, metav1.CreateOptions{})
	return err
}

// measure makes the pod ready again and again.
func (w *workload) measure(ctx context.Context, rounds int) ([]time.Duration, error) {
	var times []time.Duration
	for range rounds {
		if err := w.reaches(ctx, false); err != nil {
			return nil, err
		}
		var written atomic.Pointer[time.Time]
		go func() {
			// The client is at it by then.
			time.Sleep(20 * time.Millisecond)
			now := time.Now()
			written.Store(&now)
			_ = w.set(ctx, true)
		}()
		if err := w.reaches(ctx, true); err != nil {
			return nil, err
		}
		times = append(times, time.Since(*written.Load()))
		if err := w.set(ctx, false); err != nil {
			return nil, err
		}
	}
	return times, nil
}

func (w *workload) set(ctx context.Context, ready bool) error {
	status := corev1.ConditionFalse
	if ready {
		status = corev1.ConditionTrue
	}
	patch := fmt.Sprintf(`{"status":{"conditions":[{"type":%q,"status":%q}]}}`, gate, status)
	_, err := w.client.CoreV1().Pods("default").Patch(ctx, "web", types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}, "status")
	return err
}

// reaches connects from the other node until that succeeds, or no longer does.
func (w *workload) reaches(ctx context.Context, want bool) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		file, err := os.Open(w.netns)
		if err == nil {
			err = unix.Setns(int(file.Fd()), unix.CLONE_NEWNET)
			file.Close()
		}
		for deadline := time.Now().Add(30 * time.Second); err == nil && w.connects() != want; {
			if err = ctx.Err(); err == nil && time.Now().After(deadline) {
				err = fmt.Errorf("after 30 s the Service is not as it should be: reachable %v", want)
			}
			time.Sleep(200 * time.Microsecond)
		}
		done <- err
	}()
	return <-done
}

func (w *workload) connects() bool {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	// A client that resets leaves no connection to wait for.
	_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	return unix.Connect(fd, &unix.SockaddrInet4{Port: 80, Addr: w.address}) == nil
}
