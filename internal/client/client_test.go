// SPDX-License-Identifier: Apache-2.0

package client

import (
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

// frozen forwards connections to a server, until it is told to forward nothing more, without closing anything: what a host
// that is gone looks like.
func frozen(t *testing.T, to string) (address string, freeze *atomic.Bool) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	freeze = new(atomic.Bool)
	pass := func(from, to net.Conn) {
		buf := make([]byte, 4096)
		for {
			n, err := from.Read(buf)
			if err != nil {
				_ = to.Close()
				return
			}
			if !freeze.Load() {
				_, _ = to.Write(buf[:n])
			}
		}
	}
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				_ = in.Close()
				return
			}
			go pass(in, out)
			go pass(out, in)
		}
	}()
	return l.Addr().String(), freeze
}

// A watch over a connection that died without a word ends, so that it can be begun again over another one.
func TestWatchesOverDeadConnectionsEnd(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	address, freeze := frozen(t, server.Listener.Addr().String())
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	shared, err := rest.HTTPClientFor(&rest.Config{Host: "https://" + address, TLSClientConfig: rest.TLSClientConfig{CAData: authority}})
	if err != nil {
		t.Fatal(err)
	}
	noticeDeadConnections(shared.Transport, 50*time.Millisecond, 50*time.Millisecond)
	response, err := shared.Get("https://" + address)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.ProtoMajor != 2 {
		t.Fatalf("speaks %s", response.Proto)
	}
	freeze.Store(true)
	ended := make(chan error, 1)
	go func() { _, err := io.ReadAll(response.Body); ended <- err }()
	select {
	case err := <-ended:
		if err == nil {
			t.Error("the watch ended as if nothing had happened")
		}
	case <-time.After(30 * time.Second):
		t.Error("the watch goes on over a dead connection")
	}
}
