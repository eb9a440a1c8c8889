// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"eastwest/internal/dns/forward"
)

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(body)
}

// feed was last confirmed an hour ago.
type feed struct{}

func (feed) Confirmed() time.Time { return time.Now().Add(-time.Hour) }
func (feed) Mended() uint64       { return 7 }

// While the API server is away, the metrics say how old the answers are.
func TestMetricsSayHowOldNamesAre(t *testing.T) {
	s := startServer(t, ServerConfig{Zone: testZone(t, testRows()...), Feed: feed{}})
	web := httptest.NewServer(s.Handler())
	defer web.Close()
	_, metrics := get(t, web.URL+"/metrics")
	for _, want := range []string{"eastwest_dns_table_age_seconds 36", "eastwest_dns_lost_events_total 7"} {
		if !strings.Contains(metrics, want) {
			t.Errorf("missing %s in\n%s", want, metrics)
		}
	}
}

func TestMetricsHaveCoreDNSNames(t *testing.T) {
	u := startUpstream(t)
	s := startServer(t, ServerConfig{Zone: testZone(t, testRows()...), Upstreams: forward.Plain(u.addr)})
	ask(t, "udp", s, "web.default.svc.cluster.local.", mdns.TypeA)
	ask(t, "tcp", s, "none.default.svc.cluster.local.", mdns.TypeSRV)
	for range 3 {
		ask(t, "udp", s, "www.example.com.", mdns.TypeA)
	}
	web := httptest.NewServer(s.Handler())
	defer web.Close()
	server := s.Addrs()[0].String()
	// How long an answer took is known when it was sent, which may be a moment after it was read here.
	all, metrics := `request_duration_seconds_count{server="dns://`+server+`",view="",zone="."} 5`, ""
	for range 500 {
		if _, metrics = get(t, web.URL+"/metrics"); strings.Contains(metrics, all) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	for _, want := range []string{
		`coredns_dns_requests_total{family="1",proto="udp",server="dns://` + server + `",type="A",view="",zone="."} 4`,
		`coredns_dns_requests_total{family="1",proto="tcp",server="dns://` + server + `",type="SRV",view="",zone="."} 1`,
		`coredns_dns_responses_total{plugin="kubernetes",rcode="NOERROR",server="dns://` + server + `",view="",zone="."} 1`,
		`coredns_dns_responses_total{plugin="kubernetes",rcode="NXDOMAIN",server="dns://` + server + `",view="",zone="."} 1`,
		`coredns_dns_responses_total{plugin="forward",rcode="NOERROR",server="dns://` + server + `",view="",zone="."} 1`,
		`coredns_dns_responses_total{plugin="cache",rcode="NOERROR",server="dns://` + server + `",view="",zone="."} 2`,
		`coredns_cache_misses_total{server="dns://` + server + `",view="",zones="."} 1`,
		`coredns_cache_hits_total{server="dns://` + server + `",type="success",view="",zones="."} 2`,
		`coredns_cache_requests_total{server="dns://` + server + `",view="",zones="."} 3`,
		`coredns_dns_request_duration_seconds_bucket{server="dns://` + server + `",view="",zone=".",le="+Inf"} 5`,
		`coredns_dns_request_duration_seconds_count{server="dns://` + server + `",view="",zone="."} 5`,
		`eastwest_dns_ready 1`,
		`eastwest_dns_upstream_up{to="` + u.addr.String() + `"} 1`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("missing %s in\n%s", want, metrics)
		}
	}
	if code, _ := get(t, web.URL+"/ready"); code != http.StatusOK {
		t.Errorf("ready: %d", code)
	}
}

func TestNotReadyBeforeTheFirstTable(t *testing.T) {
	z, err := NewZone(ZoneConfig{})
	if err != nil {
		t.Fatal(err)
	}
	s := startServer(t, ServerConfig{Zone: z})
	web := httptest.NewServer(s.Handler())
	defer web.Close()
	if code, _ := get(t, web.URL+"/ready"); code != http.StatusServiceUnavailable {
		t.Errorf("ready: %d", code)
	}
	if code, _ := get(t, web.URL+"/health"); code != http.StatusOK {
		t.Errorf("health: %d", code)
	}
	http.DefaultClient.CloseIdleConnections()
}
