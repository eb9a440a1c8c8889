// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
)

func inProcessClient(handler http.HandlerFunc) *http.Client {
	own := newInProcess()
	own.serve(handler)
	return &http.Client{Transport: own}
}

type key struct{}

func TestInProcessCarriesRequestAndAnswer(t *testing.T) {
	client := inProcessClient(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Context().Value(key{}) != nil {
			t.Errorf("body: %v; the caller's own value: %v", err, r.Context().Value(key{}))
		}
		if r.RequestURI != "/api/v1/pods?limit=5" || r.Host != "cluster:6443" || r.TLS != nil {
			t.Errorf("request %q to %q, TLS %v", r.RequestURI, r.Host, r.TLS)
		}
		r.Header.Del("Authorization") // as the filters do, of their own copy
		w.Header().Set("Content-Type", "text/plain")
		w.WriteHeader(http.StatusConflict)
		w.Header().Set("Content-Type", "too late")
		w.WriteHeader(http.StatusOK)
		_, _ = w.Write([]byte(r.Method + " "))
		_, _ = w.Write(body)
	})
	request, err := http.NewRequestWithContext(context.WithValue(t.Context(), key{}, 1), http.MethodPut, "https://cluster:6443/api/v1/pods?limit=5", strings.NewReader("a pod"))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer x")
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || string(body) != "PUT a pod" || response.StatusCode != http.StatusConflict || response.Header.Get("Content-Type") != "text/plain" {
		t.Errorf("%d %v %q, %v", response.StatusCode, response.Header, body, err)
	}
	if request.Header.Get("Authorization") == "" {
		t.Error("the handler changed the caller's header")
	}
}

// A watch: each event arrives when it is flushed, and the handler ends with whoever watched.
func TestInProcessStreamsUntilEitherSideEnds(t *testing.T) {
	for name, end := range map[string]func(cancel func(), body io.Closer){
		"context": func(cancel func(), _ io.Closer) { cancel() },
		"close":   func(_ func(), body io.Closer) { _ = body.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			next, ended := make(chan string), make(chan error, 1)
			client := inProcessClient(func(w http.ResponseWriter, r *http.Request) {
				w.(http.Flusher).Flush()
				for {
					select {
					case line := <-next:
						_, _ = io.WriteString(w, line+"\n")
					case <-r.Context().Done():
						<-w.(http.CloseNotifier).CloseNotify() //nolint:staticcheck // the filters still ask for it
						_, err := w.Write([]byte("more"))
						ended <- err
						return
					}
				}
			})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://cluster/watch", nil)
			if err != nil {
				t.Fatal(err)
			}
			response, err := client.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			lines := bufio.NewScanner(response.Body)
			for _, line := range []string{"added", "modified"} {
				next <- line
				if !lines.Scan() || lines.Text() != line {
					t.Fatalf("%q, %v, want %q", lines.Text(), lines.Err(), line)
				}
			}
			end(cancel, response.Body)
			if err := <-ended; err == nil {
				t.Error("a write to nobody succeeded")
			}
			if name == "context" && (lines.Scan() || !errors.Is(lines.Err(), context.Canceled)) {
				t.Errorf("read after the end: %v, want %v", lines.Err(), context.Canceled)
			}
		})
	}
}

func TestInProcessEndsWithAHandlerThatPanics(t *testing.T) {
	before := inProcessClient(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	if response, err := before.Get("https://cluster/"); !errors.Is(err, errAborted) {
		t.Errorf("before an answer: %v, %v, want %v", response, err, errAborted)
	}
	within := inProcessClient(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("half"))
		panic(http.ErrAbortHandler)
	})
	response, err := within.Get("https://cluster/")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, err := io.ReadAll(response.Body); string(body) != "half" || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("within an answer: %q, %v", body, err)
	}
}

func TestInProcessGivesUpWithTheCaller(t *testing.T) {
	ended := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	client := inProcessClient(func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
		close(ended)
	})
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://cluster/", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Do(request); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want %v", err, context.Canceled)
	}
	<-ended
}

func TestInProcessWaitsForAHandler(t *testing.T) {
	own := newInProcess()
	client := &http.Client{Transport: own}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://cluster/", strings.NewReader("body"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Do(request); !errors.Is(err, context.Canceled) {
		t.Errorf("without a handler: %v, want %v", err, context.Canceled)
	}
	answered := make(chan error, 1)
	go func() {
		response, err := client.Get("https://cluster/")
		if err == nil {
			_ = response.Body.Close()
		}
		answered <- err
	}()
	own.serve(http.NotFoundHandler())
	if err := <-answered; err != nil {
		t.Error(err)
	}
}
