// SPDX-License-Identifier: Apache-2.0

package server

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
)

// configMap makes one and returns where it is watched from now on.
func configMap(t *testing.T, name string) (watch string) {
	t.Helper()
	made, err := api.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return admin.Host + "/api/v1/namespaces/default/configmaps?watch=1&fieldSelector=metadata.name%3D" + name + "&resourceVersion=" + made.ResourceVersion
}

// annotate writes an annotation of some bytes, which ends in a number.
func annotate(t *testing.T, name string, number, size int) {
	t.Helper()
	patch := fmt.Sprintf(`{"metadata":{"annotations":{"change":"%s-%d"}}}`, strings.Repeat("x", size), number)
	if _, err := api.CoreV1().ConfigMaps("default").Patch(t.Context(), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

func open(ctx context.Context, client *http.Client, url string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	return client.Do(req)
}

// goesBack waits until a count is near what it was.
func goesBack(t *testing.T, what string, before int, count func() int) {
	t.Helper()
	var now int
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if now = count(); now <= before+before/10+20 {
			return
		}
	}
	t.Errorf("%d %s, %d before: something leaks", now, what, before)
}

// crowd is what became of many watches.
type crowd struct {
	t                     *testing.T
	opened, refused, told atomic.Int32
	opening, reading      sync.WaitGroup
}

// watch opens one, and reads it until it was told something.
func (c *crowd) watch(ctx context.Context, client *http.Client, url string) {
	answered := sync.OnceFunc(c.opening.Done)
	defer answered()
	answer, err := open(ctx, client, url)
	if err != nil {
		c.t.Errorf("open a watch: %v", err)
		return
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		var status metav1.Status
		if err := json.NewDecoder(answer.Body).Decode(&status); err != nil || status.Code != http.StatusTooManyRequests {
			c.t.Errorf("a watch is refused with %s, %v: %v", answer.Status, status, err)
		}
		c.refused.Add(1)
		return
	}
	c.opened.Add(1)
	answered()
	if line, err := bufio.NewReader(answer.Body).ReadString('\n'); err == nil && strings.Contains(line, "-7") {
		c.told.Add(1)
	}
}

// patient is a client that waits as long as the server takes: it asks for no sign of life, which a machine with other work may not give in time.
func patient(t *testing.T) *http.Client {
	t.Helper()
	trust, err := rest.TLSConfigFor(admin)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: trust, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// Ten thousand watches opened at once: each is served, or refused with a Status; others are answered meanwhile; and nothing
// is left of them.
func TestManyWatches(t *testing.T) {
	const clients, each = 100, 100
	url := configMap(t, "watched")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	before := runtime.NumGoroutine()
	c := &crowd{t: t}
	var connected []*http.Client
	for range clients {
		client := patient(t)
		answer, err := open(ctx, client, admin.Host+"/readyz")
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		connected = append(connected, client)
	}
	c.opening.Add(clients * each)
	for range each {
		for _, client := range connected {
			c.reading.Go(func() { c.watch(ctx, client, url) })
		}
	}
	other := patient(t)
	for range 10 {
		answer, err := open(ctx, other, admin.Host+services+"/kubernetes")
		if err != nil {
			t.Fatal(err)
		}
		if answer.Body.Close(); answer.StatusCode != http.StatusOK {
			t.Errorf("another client meanwhile: %s", answer.Status)
		}
	}
	c.opening.Wait()
	annotate(t, "watched", 7, 0)
	c.reading.Wait()
	if opened := c.opened.Load(); opened+c.refused.Load() != clients*each || c.told.Load() != opened || opened == 0 {
		t.Errorf("%d opened, %d refused, %d told", opened, c.refused.Load(), c.told.Load())
	}
	for _, client := range connected {
		client.CloseIdleConnections()
	}
	goesBack(t, "goroutines", before, runtime.NumGoroutine)
}

// Watchers that do not read take nothing from those that do, and leave nothing.
func TestWatchersThatDoNotRead(t *testing.T) {
	url := configMap(t, "unread")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	before := runtime.NumGoroutine()
	deaf := browser(t)
	for range 50 {
		answer, err := open(ctx, deaf, url)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
	}
	reader := browser(t)
	answer, err := open(ctx, reader, url)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	// More than all buffers between have room for.
	const changes, size = 300, 100_000
	last := make(chan error, 1)
	go func() {
		decoder := json.NewDecoder(answer.Body)
		for {
			var event struct {
				Type   string
				Object corev1.ConfigMap
			}
			if err := decoder.Decode(&event); err != nil {
				last <- err
				return
			}
			if strings.HasSuffix(event.Object.Annotations["change"], fmt.Sprint("-", changes-1)) {
				last <- nil
				return
			}
		}
	}()
	for i := range changes {
		annotate(t, "unread", i, size)
	}
	if err := <-last; err != nil {
		t.Errorf("the watcher that reads was not told all: %v", err)
	}
	stop()
	deaf.CloseIdleConnections()
	reader.CloseIdleConnections()
	goesBack(t, "goroutines", before, runtime.NumGoroutine)
}
