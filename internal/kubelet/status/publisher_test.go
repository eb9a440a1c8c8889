// SPDX-License-Identifier: Apache-2.0

package status

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"eastwest/internal/client"
)

// apiServer counts versions and remembers which phases were written. While gate is held, no write is answered.
type apiServer struct {
	mu     sync.Mutex
	gate   sync.Mutex
	writes []corev1.PodPhase
}

func (a *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.gate.Lock()
	defer a.gate.Unlock()
	a.mu.Lock()
	defer a.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	var pod corev1.Pod
	if err := json.Unmarshal(body, &pod); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	a.writes = append(a.writes, pod.Status.Phase)
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"kind":"Pod","apiVersion":"v1","metadata":{"name":"web","resourceVersion":"%d"}}`, 10+len(a.writes))
}

func (a *apiServer) written() []corev1.PodPhase {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]corev1.PodPhase(nil), a.writes...)
}

func publish(t *testing.T) (*Publisher, *apiServer, *corev1.Pod) {
	t.Helper()
	api := &apiServer{}
	server := httptest.NewServer(api)
	t.Cleanup(server.Close)
	c, err := client.New(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default", UID: "1", ResourceVersion: "10"}}
	return NewPublisher(ctx, c, func(p *corev1.Pod) (types.UID, bool) { return p.UID, true }, slog.New(slog.DiscardHandler)), api, pod
}

func of(phase corev1.PodPhase, ip string) corev1.PodStatus {
	return corev1.PodStatus{Phase: phase, PodIP: ip}
}

func flush(t *testing.T, p *Publisher) {
	t.Helper()
	if err := p.Flush(t.Context(), "1"); err != nil {
		t.Fatal(err)
	}
}

// What a pod goes through until it runs is one write, if it runs soon.
func TestStepsOfAStartAreWrittenTogether(t *testing.T) {
	p, api, pod := publish(t)
	p.Set(pod, of(corev1.PodPending, ""))
	p.Set(pod, of(corev1.PodPending, "10.0.0.1"))
	p.Set(pod, of(corev1.PodRunning, "10.0.0.1"))
	flush(t, p)
	if got := api.written(); len(got) != 1 || got[0] != corev1.PodRunning {
		t.Errorf("written %v, want Running alone", got)
	}
}

// What is told of an earlier state of the object, and what is set again while it is being written, is not written again.
func TestNothingIsWrittenTwice(t *testing.T) {
	p, api, pod := publish(t)
	api.gate.Lock()
	p.Set(pod, of(corev1.PodRunning, "10.0.0.1"))
	p.Set(pod, of(corev1.PodRunning, "10.0.0.1"))
	api.gate.Unlock()
	flush(t, p)
	p.Refresh(pod) // from before the write
	p.Set(pod, of(corev1.PodRunning, "10.0.0.1"))
	flush(t, p)
	if got := api.written(); len(got) != 1 {
		t.Errorf("written %v, want one write", got)
	}
}

// What somebody else changed is changed back.
func TestChangesOfOthersAreNoticed(t *testing.T) {
	p, api, pod := publish(t)
	p.Set(pod, of(corev1.PodRunning, "10.0.0.1"))
	flush(t, p)
	changed := pod.DeepCopy()
	changed.ResourceVersion, changed.Status = "99", of(corev1.PodRunning, "10.0.0.9")
	p.Refresh(changed)
	p.Set(changed, of(corev1.PodRunning, "10.0.0.1"))
	flush(t, p)
	if got := api.written(); len(got) != 2 {
		t.Errorf("written %v, want two writes", got)
	}
}
