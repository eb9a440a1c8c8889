// SPDX-License-Identifier: Apache-2.0

package serve_test

import (
	"encoding/binary"
	"net"
	"strings"
	"testing"
	"time"

	"eastwest/internal/cni/entry"
	"eastwest/internal/socketfile"
)

// other is somebody at the socket who answers in ways of his own.
func other(t *testing.T, do func(*net.UnixConn)) {
	t.Helper()
	listener, err := socketfile.Listen("unixpacket", entry.Socket, "test")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan bool)
	go func() {
		defer close(ended)
		for {
			conn, err := listener.AcceptUnix()
			if err != nil {
				return
			}
			do(conn)
			conn.Close()
		}
	}()
	t.Cleanup(func() {
		listener.Close()
		<-ended
	})
}

func send(conn *net.UnixConn, values ...uint32) {
	var message []byte
	for _, v := range values {
		message = binary.NativeEndian.AppendUint32(message, v)
	}
	_, _ = conn.Write(message)
}

// receiveAny reads the request, which the caller's system would otherwise report as lost.
func receiveAny(conn *net.UnixConn) { _, _ = conn.Read(make([]byte, entry.Limit)) }

// Until its request is read elsewhere, or when it is told so, the plugin does the call itself. After that it says that it is not known
// how far that came.
func TestAnswers(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(*net.UnixConn)
		lost bool
	}{
		{name: "gone at once", do: func(*net.UnixConn) {}},
		{name: "never read", do: func(c *net.UnixConn) { time.Sleep(3 * time.Second) }},
		{name: "declined", do: func(c *net.UnixConn) { receiveAny(c); send(c, entry.Declined, 0) }},
		{name: "read, and declined late", do: func(c *net.UnixConn) { receiveAny(c); receiveAny(c); send(c, entry.Declined, 0) }},
		{name: "read and gone", do: receiveAny, lost: true},
		{name: "read, and gone late", do: func(c *net.UnixConn) { receiveAny(c); receiveAny(c) }, lost: true},
		{name: "something else", do: func(c *net.UnixConn) { receiveAny(c); send(c, 77, 0) }, lost: true},
		{name: "too short", do: func(c *net.UnixConn) { receiveAny(c); send(c, entry.Done) }, lost: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			other(t, c.do)
			out, code := said(t, calling("loopback", "VERSION", "one", ""))
			if !c.lost {
				if code != 0 || !strings.Contains(out, "1.1.0") {
					t.Errorf("it ended with %d: %s", code, out)
				}
				return
			}
			if number, message := failure(t, out); code != 1 || number != 11 || !strings.Contains(message, "loopback VERSION of container one interface eth0: ") {
				t.Errorf("it ended with %d: %s", code, out)
			}
		})
	}
}

// The exit code is the other side's.
func TestExitCode(t *testing.T) {
	late := false
	other(t, func(c *net.UnixConn) {
		receiveAny(c)
		if late {
			receiveAny(c) // until it waits no more for an answer in time
		}
		send(c, entry.Done, 113)
	})
	for range 2 {
		if _, code := said(t, calling("loopback", "VERSION", "one", "")); code != 113 {
			t.Fatalf("it ended with %d", code)
		}
		late = true
	}
}
