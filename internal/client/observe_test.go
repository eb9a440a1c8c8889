// SPDX-License-Identifier: Apache-2.0

package client_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"k8s.io/client-go/rest"

	"eastwest/internal/client"
)

// Every request is told of once, with the answer that it had; one without an answer as an error.
func TestRequestsAreObserved(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/nodes") {
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	defer server.Close()
	c, err := client.New(&rest.Config{Host: server.URL, QPS: -1})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var seen []string
	ask := func(resource string, watch bool) {
		request := c.Core().Get().Resource(resource).MaxRetries(0)
		if watch {
			request.Param("watch", "true")
		}
		_ = request.Do(t.Context()).Error()
	}
	ask("services", false) // nobody looks yet
	c.Observe(func(r client.Request) {
		mu.Lock()
		defer mu.Unlock()
		kind := "request"
		if r.Watch {
			kind = "watch"
		}
		seen = append(seen, r.Method+" "+r.Code+" "+kind)
		if "http://"+r.Host != server.URL {
			t.Errorf("host %s, want that of %s", r.Host, server.URL)
		}
	})
	ask("services", false)
	ask("services", true)
	ask("nodes", false)
	server.Close()
	ask("services", false)
	mu.Lock()
	defer mu.Unlock()
	if got, want := strings.Join(seen, ", "), "GET 200 request, GET 200 watch, GET 403 request, GET <error> request"; got != want {
		t.Errorf("observed %s\nwant %s", got, want)
	}
}
