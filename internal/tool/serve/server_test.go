// SPDX-License-Identifier: Apache-2.0

package serve_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"eastwest/internal/tool/request"
	"eastwest/internal/tool/serve"
)

type running struct {
	*serve.Server
	stop context.CancelFunc
	code chan int
}

// start serves one port of each kind on loopback until the test ends.
func start(t *testing.T) running {
	t.Helper()
	server, err := serve.New(serve.Config{
		Address: "127.0.0.1", HTTP: []uint{0}, TCP: []uint{0}, UDP: []uint{0}, Hostname: "pod-a",
		Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	r := running{Server: server, stop: stop, code: make(chan int, 1)}
	go func() {
		code, err := server.Run(ctx)
		if err != nil {
			t.Error(err)
		}
		r.code <- code
		close(r.code)
	}()
	t.Cleanup(func() { stop(); <-r.code })
	return r
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestPathsAnswer(t *testing.T) {
	base := "http://" + start(t).HTTPAddrs()[0]
	for _, c := range []struct {
		path   string
		status int
		want   string
	}{
		{"/", 200, "hostname: pod-a\nclient:   127.0.0.1:"},
		{"/any/path?q=1", 200, "request:  GET /any/path?q=1 HTTP/1.1"},
		{"/hostname", 200, "pod-a\n"},
		{"/clientip", 200, "127.0.0.1:"},
		{"/healthz", 200, "ok\n"},
		{"/echo?msg=hello", 200, "hello\n"},
		{"/delay?for=1ms", 200, "ok\n"},
		{"/delay?for=soon", 400, `"soon" is not a duration`},
		{"/delay?for=1h", 400, "is longer than"},
		{"/request", 400, "nothing to send a request to"},
		{"/request?url=file:///etc/passwd", 400, "is not of the form"},
		{"/request?url=http://x&count=1000000", 400, "count 1000000 is outside"},
		{"/resolve?name=x&type=NOPE", 400, `unknown record type "NOPE"`},
		{"/exit?code=999", 400, "is not a number from 0 to 255"},
	} {
		t.Run(c.path, func(t *testing.T) {
			status, body := get(t, base+c.path)
			if status != c.status || !strings.Contains(body, c.want) {
				t.Errorf("got %d %q, want %d with %q", status, body, c.status, c.want)
			}
		})
	}
}

func TestEchoReturnsBodyWithinBound(t *testing.T) {
	base := "http://" + start(t).HTTPAddrs()[0]
	for size, status := range map[int]int{3: 200, 1<<20 + 1: 413} {
		resp, err := http.Post(base+"/echo", "text/plain", strings.NewReader(strings.Repeat("x", size)))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != status {
			t.Errorf("body of %d bytes: status %d, want %d", size, resp.StatusCode, status)
		}
	}
}

func TestRequestFromServerCountsHosts(t *testing.T) {
	server := start(t)
	base := "http://" + server.HTTPAddrs()[0]
	_, body := get(t, base+"/request?count=7&url="+base+"/hostname")
	var report request.Report
	if err := json.Unmarshal([]byte(body), &report); err != nil {
		t.Fatalf("%v in %q", err, body)
	}
	if report.Hosts["pod-a"] != 7 || report.Clients["127.0.0.1"] != 7 || report.Failed() != 0 {
		t.Errorf("report %+v, want 7 answers of pod-a to 127.0.0.1", report)
	}
}

func TestEchoOverTCPAndUDP(t *testing.T) {
	server := start(t)
	for name, ask := range map[string]func() (*request.Report, error){
		"tcp": func() (*request.Report, error) {
			return request.TCP(t.Context(), request.Config{Target: server.TCPAddrs()[0], Count: 3, Message: "hello"})
		},
		"udp": func() (*request.Report, error) {
			return request.UDP(t.Context(), request.Config{Target: server.UDPAddrs()[0], Count: 3, Message: "hello"})
		},
	} {
		report, err := ask()
		if err != nil {
			t.Fatal(err)
		}
		if report.Hosts["pod-a"] != 3 || report.Clients["127.0.0.1"] != 3 {
			t.Errorf("%s: report %+v, want 3 answers of pod-a", name, report)
		}
	}
}

func TestDatagramAnswerNamesClientPort(t *testing.T) {
	conn, err := net.Dial("udp", start(t).UDPAddrs()[0])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "hi\n"); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 512)
	n, err := conn.Read(buffer)
	if err != nil {
		t.Fatal(err)
	}
	own := netip.MustParseAddrPort(conn.LocalAddr().String())
	if got, want := string(buffer[:n]), "pod-a "+own.String()+" hi\n"; got != want {
		t.Errorf("answer %q, want %q", got, want)
	}
}

func TestExitEndsWithCode(t *testing.T) {
	server := start(t)
	get(t, "http://"+server.HTTPAddrs()[0]+"/exit?code=42")
	if code := <-server.code; code != 42 {
		t.Errorf("exit code %d, want 42", code)
	}
}

// The server asks for the body (100 Continue) only once its handler reads it, so the request is under way by then.
func TestRequestUnderWayFinishesAtStop(t *testing.T) {
	server := start(t)
	conn, err := net.Dial("tcp", server.HTTPAddrs()[0])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
	reader := bufio.NewReader(conn)
	if line, err := reader.ReadString('\n'); err != nil || !strings.Contains(line, "100 Continue") {
		t.Fatalf("got %q, %v; want 100 Continue", line, err)
	}
	server.stop()
	fmt.Fprint(conn, "abc")
	answer, err := io.ReadAll(reader)
	if err != nil || !strings.HasSuffix(string(answer), "\r\n\r\nabc") {
		t.Errorf("request under way got %q, %v; want its body back", answer, err)
	}
}

func TestPortInUseIsAnError(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := uint(taken.Addr().(*net.TCPAddr).Port)
	_, err = serve.New(serve.Config{Address: "127.0.0.1", HTTP: []uint{port}})
	if err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("error %v, want address already in use", err)
	}
}
