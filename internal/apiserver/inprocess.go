// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"

	"k8s.io/client-go/rest"
)

// inProcess is the transport of the process's own clients to a handler in it. The controllers' watches and writes are most
// of the requests that a busy server has; between them and the handler is no TLS, no HTTP/2 and no socket. Authentication,
// authorization, fairness and admission are the handler's own, as for everyone.
type inProcess struct {
	handler http.Handler
	ready   chan struct{} // closed once there is a handler
}

func newInProcess() *inProcess { return &inProcess{ready: make(chan struct{})} }

// serve has requests answered, those that wait already as well.
func (t *inProcess) serve(handler http.Handler) {
	t.handler = handler
	close(t.ready)
}

// config returns what a client needs for the rights of loopback, with requests that go to the handler.
func (t *inProcess) config(loopback *rest.Config) *rest.Config {
	config := rest.CopyConfig(loopback)
	config.TLSClientConfig = rest.TLSClientConfig{}
	config.Transport = t
	return config
}

// RoundTrip implements http.RoundTripper. It waits for a handler, which then runs until it is done, or the request's
// context ends, or the answer's body is closed.
func (t *inProcess) RoundTrip(request *http.Request) (*http.Response, error) {
	select {
	case <-t.ready:
	case <-request.Context().Done():
		if request.Body != nil {
			_ = request.Body.Close()
		}
		return nil, context.Cause(request.Context())
	}
	// Values of the caller's context are not the handler's: it keeps its own there, the user among them.
	ctx, cancel := context.WithCancel(context.Background())
	body, writer := io.Pipe()
	stop := context.AfterFunc(request.Context(), func() {
		writer.CloseWithError(context.Cause(request.Context()))
		cancel()
	})
	a := &answer{header: http.Header{}, begun: make(chan struct{}), body: writer, ended: ctx.Done()}
	go func() {
		defer cancel()
		defer stop()
		a.serve(t.handler, received(ctx, request))
	}()
	select {
	case <-a.begun:
	case <-request.Context().Done():
		return nil, context.Cause(request.Context())
	}
	if a.failed != nil {
		return nil, fmt.Errorf("%s %s: %w", request.Method, request.URL.Path, a.failed)
	}
	return a.response(request, reading{PipeReader: body, cancel: cancel}), nil
}

// received is the request as a handler sees it.
func received(ctx context.Context, request *http.Request) *http.Request {
	r := request.Clone(ctx)
	r.RequestURI, r.RemoteAddr = request.URL.RequestURI(), "127.0.0.1:0"
	r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/2.0", 2, 0
	if r.Host == "" {
		r.Host = request.URL.Host
	}
	if r.Body == nil {
		r.Body = http.NoBody
	}
	return r
}

// reading is the body of an answer.
type reading struct {
	*io.PipeReader
	cancel context.CancelFunc
}

// Close implements io.Closer: what is not read will not be written.
func (r reading) Close() error {
	r.cancel()
	return r.PipeReader.Close()
}

// answer is what a handler writes to.
type answer struct {
	header http.Header
	body   *io.PipeWriter
	ended  <-chan struct{}

	once   sync.Once
	begun  chan struct{} // closed once the rest is set
	status int
	sent   http.Header
	failed error
}

var errAborted = errors.New("the handler gave up")

func (a *answer) serve(handler http.Handler, request *http.Request) {
	defer request.Body.Close()
	defer func() {
		// As net/http has it, a panic ends the request and not the process; the handler's own filter has told of it.
		if recover() != nil {
			a.once.Do(func() { a.failed = errAborted; close(a.begun) })
			a.body.CloseWithError(io.ErrUnexpectedEOF)
			return
		}
		a.WriteHeader(http.StatusOK)
		_ = a.body.Close()
	}()
	handler.ServeHTTP(a, request)
}

func (a *answer) response(request *http.Request, body io.ReadCloser) *http.Response {
	length := int64(-1)
	if n, err := strconv.ParseInt(a.sent.Get("Content-Length"), 10, 64); err == nil {
		length = n
	}
	return &http.Response{
		Status: strconv.Itoa(a.status) + " " + http.StatusText(a.status), StatusCode: a.status, Proto: "HTTP/2.0", ProtoMajor: 2,
		Header: a.sent, Body: body, ContentLength: length, Request: request,
	}
}

// Header implements http.ResponseWriter.
func (a *answer) Header() http.Header { return a.header }

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) {
	if status < http.StatusOK {
		return // informational: no client of ours asks for it
	}
	a.once.Do(func() {
		a.status, a.sent = status, a.header.Clone()
		close(a.begun)
	})
}

// Write implements io.Writer. It returns when the client has read everything, or will read no more.
func (a *answer) Write(data []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(data)
}

// Flush implements http.Flusher.
func (a *answer) Flush() { a.WriteHeader(http.StatusOK) }

// CloseNotify implements http.CloseNotifier, by which the server's filters know a writer that can stream.
func (a *answer) CloseNotify() <-chan bool {
	closed := make(chan bool, 1)
	go func() {
		<-a.ended
		closed <- true
	}()
	return closed
}
