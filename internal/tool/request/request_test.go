// SPDX-License-Identifier: Apache-2.0

package request_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"eastwest/internal/tool/request"
)

// server names itself a, b, a, b, … by connection.
func server(t *testing.T) *httptest.Server {
	t.Helper()
	hosts := map[string]string{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, ok := hosts[r.RemoteAddr]; !ok {
			hosts[r.RemoteAddr] = string(rune('a' + len(hosts)%2))
		}
		w.Header().Set(request.HostnameHeader, hosts[r.RemoteAddr])
		w.Header().Set(request.ClientHeader, r.RemoteAddr)
		if r.URL.Path == "/broken" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func TestEachRequestHasItsOwnConnection(t *testing.T) {
	report, err := request.HTTP(t.Context(), request.Config{Target: server(t).URL, Count: 10})
	if err != nil {
		t.Fatal(err)
	}
	if report.Hosts["a"] != 5 || report.Hosts["b"] != 5 {
		t.Errorf("hosts %v, want 5 of a and 5 of b", report.Hosts)
	}
}

func TestKeepAliveStaysWithOneHost(t *testing.T) {
	report, err := request.HTTP(t.Context(), request.Config{Target: server(t).URL, Count: 10, KeepAlive: true})
	if err != nil {
		t.Fatal(err)
	}
	if report.Hosts["a"] != 10 {
		t.Errorf("hosts %v, want 10 of a", report.Hosts)
	}
}

func TestErrorStatusIsAFailure(t *testing.T) {
	report, err := request.HTTP(t.Context(), request.Config{Target: server(t).URL + "/broken", Count: 2})
	if err != nil {
		t.Fatal(err)
	}
	if report.Failed() != 2 || len(report.Hosts) != 0 {
		t.Errorf("report %+v, want 2 failures", report)
	}
}

func TestEqualFailuresCountTogether(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := closed.Addr().String()
	closed.Close()
	for name, ask := range map[string]func() (*request.Report, error){
		"http": func() (*request.Report, error) {
			return request.HTTP(t.Context(), request.Config{Target: "http://" + address, Count: 3})
		},
		"tcp": func() (*request.Report, error) {
			return request.TCP(t.Context(), request.Config{Target: address, Count: 3})
		},
	} {
		report, err := ask()
		if err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf("dial %s: connection refused", address)
		if report.Errors[want] != 3 || len(report.Errors) != 1 {
			t.Errorf("%s: errors %v, want 3 × %q", name, report.Errors, want)
		}
	}
}

func TestSilentServerTimesOut(t *testing.T) {
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	config := request.Config{Target: silent.LocalAddr().String(), Message: "x", Timeout: 20 * time.Millisecond}
	report, err := request.UDP(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(report.String(), "timed out") {
		t.Errorf("report %q, want a time-out", report)
	}
}

func TestWrongUsage(t *testing.T) {
	for _, c := range []request.Config{
		{}, {Target: "no-scheme"}, {Target: "http://x", Count: -1}, {Target: "http://x", Timeout: time.Hour},
	} {
		if _, err := request.HTTP(t.Context(), c); err == nil {
			t.Errorf("config %+v: no error", c)
		}
	}
	for _, c := range []request.Config{{Target: "no-port"}, {Target: "h:1", Message: "a\nb"}} {
		if _, err := request.TCP(t.Context(), c); err == nil {
			t.Errorf("config %+v: no error", c)
		}
	}
}
