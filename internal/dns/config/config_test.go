// SPDX-License-Identifier: Apache-2.0

package config

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"eastwest/internal/dns/forward"
)

const usual = `.:53 {
    errors
    health {
       lameduck 5s
    }
    ready
    kubernetes cluster.example in-addr.arpa ip6.arpa {
       pods verified
       fallthrough in-addr.arpa ip6.arpa
       ttl 30
       namespaces a b
    }
    hosts {
       192.0.2.7 db.example.com cache.example.com # two names
       fallthrough
    }
    rewrite name old.example.com web.default.svc.cluster.local
    rewrite name regex (.*)\.x y
    prometheus :9153
    forward . 192.0.2.53 192.0.2.54:5353 tls://192.0.2.55 dns.example {
       max_concurrent 1000
       policy sequential
       tls_servername resolver.example
       tls cert.pem key.pem
    }
    cache 30
    loop
    reload
    loadbalance
    log
    template IN A
}
corp.example:53 {
    errors
    cache 30
    forward . 192.0.2.60
}
`

// A file that is not there yet is no error, and what it says counts as soon as it is.
func TestFollowWaitsForTheFile(t *testing.T) {
	path, applied := filepath.Join(t.TempDir(), "dns.yaml"), make(chan string, 1)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		Follow(ctx, path, func(c Config) { applied <- c.QueryLog }, slog.New(slog.DiscardHandler))
	}()
	if err := os.WriteFile(path+".new", []byte("queryLog: all"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil { // it is never there in part
		t.Fatal(err)
	}
	if got := <-applied; got != "all" {
		t.Errorf("got %q", got)
	}
	cancel()
	<-done
	ctx, cancel = context.WithCancel(t.Context())
	go Follow(ctx, path, func(c Config) { applied <- c.QueryLog; cancel() }, slog.New(slog.DiscardHandler))
	if got := <-applied; got != "all" {
		t.Errorf("at start: got %q", got)
	}
}

func TestConvertKnowsAutopath(t *testing.T) {
	for line, left := range map[string]int{"autopath @kubernetes": 0, "autopath cluster.local @kubernetes": 0, "autopath /etc/resolv.conf": 1} {
		c, err := Convert(".:53 {\n " + line + "\n}\n")
		if err != nil || len(c.Left) != left {
			t.Errorf("%s: left %v, err %v", line, c.Left, err)
		}
	}
}

func TestConvertSaysWhatServesTLS(t *testing.T) {
	c, err := Convert("tls://.:853 {\n tls cert.pem key.pem\n forward . 192.0.2.1\n}\n")
	if err != nil || len(c.Config.Upstreams) != 0 || len(c.Left) != 1 || !strings.Contains(c.Left[0], "line 1: tls://.:853: say --listen-tls") {
		t.Errorf("got %+v, err %v", c, err)
	}
}

func TestConvertTheUsualCorefile(t *testing.T) {
	c, err := Convert(usual)
	if err != nil {
		t.Fatal(err)
	}
	text, err := yaml.Marshal(c.Config)
	if err != nil {
		t.Fatal(err)
	}
	want := `hosts:
- address: 192.0.2.7
  names:
  - db.example.com
  - cache.example.com
policy: sequential
queryLog: all
rewrites:
- from: old.example.com
  to: web.default.svc.cluster.local
stubZones:
- upstreams:
  - 192.0.2.60:53
  zone: corp.example
upstreams:
- 192.0.2.53:53
- 192.0.2.54:5353
- tls://192.0.2.55:853#resolver.example
`
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if diff := cmp.Diff([]string{"--cluster-domain cluster.example", "--pods verified", "--ttl 30", "--metrics :9153"}, c.Flags); diff != "" {
		t.Errorf("flags -want +got:\n%s", diff)
	}
	left := []string{
		"line 11: namespaces a b: no counterpart",
		"line 18: rewrite name regex (.*)\\.x y: only name FROM TO is known",
		"line 20: forward dns.example: only addresses and files are known",
		"line 24: tls cert.pem key.pem: no counterpart",
		"line 31: template IN A: no counterpart",
	}
	if diff := cmp.Diff(left, c.Left); diff != "" {
		t.Errorf("left -want +got:\n%s", diff)
	}
	// What was written can be read again.
	if again, err := Parse(text); err != nil || !cmp.Equal(again, c.Config, cmp.Comparer(func(a, b forward.Server) bool { return a == b }), cmp.Comparer(func(a, b Host) bool { return a.Address == b.Address })) {
		t.Errorf("read again: %v %v", again, err)
	}
}

func TestWrongFilesSayWhatIsWrong(t *testing.T) {
	for text, want := range map[string]string{
		"upstream: [192.0.2.1]":                           `unknown field "upstream"`,
		"upstreams: [resolver]":                           `"resolver" is no address of a server`,
		"queryLog: some":                                  `"some" is none of none, errors, all`,
		"stubZones: [{zone: a}]":                          `"a" has no upstreams`,
		"tls: {certificate: cert.pem}":                    "certificate and key are needed",
		"tls: {listen: [':853'], certificate: a, key: b}": "is not ADDRESS:PORT",
		"hosts: [{address: 192.0.2.1}]":                   "needs an address and names",
		"rewrites: [{from: a}]":                           "not two names",
		"hosts: [{address: 192.0.2.1, names: [a..b]}]":    "1 to 63 bytes",
		"stubZones: [{zone: a..b, upstreams: [1.1.1.1]}]": "1 to 63 bytes",
	} {
		if _, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
	for text, want := range map[string]string{".:53 {": "line 1: its brace is not closed", "}": "line 1: a brace too many", "{": "line 1: a brace with nothing before it"} {
		if _, err := Convert(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func FuzzConvert(f *testing.F) {
	f.Add(usual)
	f.Add(". {\n forward\n kubernetes {\n pods\n }\n}")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := Convert(text)
		if err != nil {
			return
		}
		out, err := yaml.Marshal(c.Config)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Parse(out); err != nil {
			t.Fatalf("what was converted cannot be read: %v\n%s", err, out)
		}
	})
}
