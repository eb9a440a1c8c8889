// SPDX-License-Identifier: Apache-2.0

package images

import (
	"context"
	"errors"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/sys/unix"

	"eastwest/internal/kernel/netns/netnstest"
)

// testRegistry is a registry in memory. With a password it lets in only user "me", and then serves TLS.
type testRegistry struct {
	*httptest.Server
	requests, withCredentials atomic.Int32
}

func newRegistry(t *testing.T, password string) *testRegistry {
	t.Helper()
	r := &testRegistry{}
	serve := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	handler := http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.requests.Add(1)
		user, given, ok := req.BasicAuth()
		if ok {
			r.withCredentials.Add(1)
		}
		if password != "" && (user != "me" || given != password) {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"who are you"}]}`, http.StatusUnauthorized)
			return
		}
		serve.ServeHTTP(w, req)
	})
	if password == "" {
		r.Server = httptest.NewServer(handler)
	} else {
		r.Server = httptest.NewTLSServer(handler)
	}
	r.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(r.Close)
	return r
}

func (r *testRegistry) host() string { return r.Listener.Addr().String() }

// push puts an image into the registry and returns its reference by digest.
func (r *testRegistry) push(t *testing.T, img v1.Image, path string, options ...remote.Option) string {
	t.Helper()
	ref, err := name.ParseReference(r.host() + "/" + path)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, img, append(options, remote.WithTransport(r.Client().Transport))...); err != nil {
		t.Fatal(err)
	}
	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return ref.Context().Name() + "@" + digest.String()
}

func openStore(t *testing.T) *Store {
	t.Helper()
	netnstest.RequireRoot(t) // layers are unpacked with their owners
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestPullWithPasswordOverTLS(t *testing.T) {
	r, s := newRegistry(t, "secret"), openStore(t)
	img := testImage(t, layerTar(t, entry{name: "a", content: "x"}))
	digest := r.push(t, img, "app:1", remote.WithAuth(&authn.Basic{Username: "me", Password: "secret"}))
	me := &authn.AuthConfig{Username: "me", Password: "secret"}

	if _, err := s.Pull(t.Context(), r.host()+"/app:1", me); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("pull from a server that nobody vouches for: %v", err)
	}
	s.roots = r.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	for _, auth := range []*authn.AuthConfig{nil, {Username: "me", Password: "wrong"}} {
		if _, err := s.Pull(t.Context(), r.host()+"/app:1", auth); err == nil || !strings.Contains(err.Error(), "UNAUTHORIZED") {
			t.Errorf("pull as %v: %v", auth, err)
		}
	}
	got, err := s.Pull(t.Context(), r.host()+"/app:1", me)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{r.host() + "/app:1"}, got.Names); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{digest}, got.Digests); diff != "" {
		t.Error(diff)
	}
	if again, err := s.Pull(t.Context(), digest, me); err != nil || again.ID != got.ID {
		t.Errorf("pull by digest: %v, %v", again, err)
	}
}

func TestPullFromMirror(t *testing.T) {
	mirror, empty, s := newRegistry(t, ""), newRegistry(t, ""), openStore(t)
	img := testImage(t, layerTar(t, entry{name: "a", content: "x"}))
	digest := mirror.push(t, img, "library/app:1")
	_, sum, _ := strings.Cut(digest, "@")
	var err error
	if s.Mirrors, err = ParseMirrors([]string{"docker.io=" + empty.URL, "docker.io=" + mirror.URL}); err != nil {
		t.Fatal(err)
	}
	for _, ref := range []string{"app:1", "app@" + sum} {
		got, err := s.Pull(t.Context(), ref, &authn.AuthConfig{Username: "me", Password: "secret"})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"docker.io/library/app@" + sum}, got.Digests); diff != "" {
			t.Errorf("%s: %s", ref, diff)
		}
	}
	if got, err := s.Get("docker.io/library/app:1"); err != nil || len(got.Names) != 1 {
		t.Errorf("image after a pull from a mirror: %v, %v", got, err)
	}
	if empty.requests.Load() == 0 {
		t.Error("the first mirror was not asked")
	}
	if empty.withCredentials.Load()+mirror.withCredentials.Load() > 0 {
		t.Error("a mirror was given the registry's credentials")
	}
}

func TestPullFallsBackToRegistry(t *testing.T) {
	r, empty, s := newRegistry(t, ""), newRegistry(t, ""), openStore(t)
	r.push(t, testImage(t, layerTar(t, entry{name: "a", content: "x"})), "app:1")
	gone := newRegistry(t, "")
	gone.Close()
	s.Mirrors = Mirrors{r.host(): {{Host: gone.host(), Plain: true}, {Host: empty.host(), Plain: true}}}
	if _, err := s.Pull(t.Context(), r.host()+"/app:1", nil); err != nil {
		t.Errorf("pull past mirrors that do not have the image: %v", err)
	}
	_, err := s.Pull(t.Context(), r.host()+"/none:1", nil)
	for _, want := range []string{"from mirror " + gone.host(), "from mirror " + empty.host(), "pull image " + r.host() + "/none:1: "} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("pull of what nobody has: %v, want %q", err, want)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	before := r.requests.Load()
	if _, err := s.Pull(ended, r.host()+"/app:1", nil); err == nil || r.requests.Load() != before {
		t.Errorf("pull that was given up asks on: %v", err)
	}
}

// A registry that stops in the middle of a layer fails the pull, which would wait for ever; the next one is whole.
func TestPullThatStalls(t *testing.T) {
	r, s := newRegistry(t, ""), openStore(t)
	img := testImage(t, layerTar(t, entry{name: "a", content: strings.Repeat("x", 1<<20)}))
	r.push(t, img, "app:1")
	stuck, stalls := make(chan struct{}), atomic.Bool{}
	stalls.Store(true)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		answer, err := http.Get(r.URL + req.URL.Path)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer answer.Body.Close()
		w.Header().Set("Content-Type", answer.Header.Get("Content-Type"))
		if !stalls.Load() || !strings.Contains(req.URL.Path, "/blobs/") {
			_, _ = io.Copy(w, answer.Body)
			return
		}
		_, _ = io.CopyN(w, answer.Body, 10)
		_ = http.NewResponseController(w).Flush()
		<-stuck
	}))
	t.Cleanup(func() { close(stuck); proxy.Close() })
	s.stall = 50 * time.Millisecond
	ref := proxy.Listener.Addr().String() + "/app:1"
	if _, err := s.Pull(t.Context(), ref, nil); err == nil || !strings.Contains(err.Error(), "has sent nothing for 50ms") {
		t.Errorf("pull that stalls: %v", err)
	}
	stalls.Store(false)
	s.stall = stallTimeout
	if _, err := s.Pull(t.Context(), ref, nil); err != nil {
		t.Error(err)
	}
}

func TestParseMirrors(t *testing.T) {
	got, err := ParseMirrors([]string{"docker.io=https://a.example", "docker.io=http://b.example:5000/", "quay.io=https://a.example"})
	want := Mirrors{
		"docker.io": {{Host: "a.example"}, {Host: "b.example:5000", Plain: true}},
		"quay.io":   {{Host: "a.example"}},
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
	for _, bad := range []string{"", "docker.io", "=https://a", "docker.io=a.example", "docker.io=ftp://a", "docker.io/x=https://a", "docker.io=https://a/path", "docker.io=https://u:p@a"} {
		if got, err := ParseMirrors([]string{bad}); err == nil {
			t.Errorf("ParseMirrors(%q) = %v, want an error", bad, got)
		}
	}
}

// A registry that is away or out of order is told from one that refuses.
func TestPullFromARegistryThatIsOutOfOrder(t *testing.T) {
	s := openStore(t)
	answering := func(code int) string {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }))
		t.Cleanup(server.Close)
		return server.Listener.Addr().String()
	}
	gone := newRegistry(t, "")
	gone.Close()
	for host, want := range map[string]bool{
		gone.host(): true, answering(http.StatusServiceUnavailable): true, answering(http.StatusInternalServerError): true,
		answering(http.StatusForbidden): false, answering(http.StatusNotFound): false, newRegistry(t, "secret").host(): false,
	} {
		_, err := s.Pull(t.Context(), host+"/app:1", nil)
		if err == nil {
			t.Fatal("pulled from a registry that has nothing")
		}
		if got := errors.As(err, new(*Unavailable)); got != want {
			t.Errorf("unavailable: %v, want %v: %v", got, want, err)
		}
	}
}

// A pull that takes long says how far it is.
func TestPullTellsItsProgress(t *testing.T) {
	r, s := newRegistry(t, ""), openStore(t)
	content := make([]byte, 1<<20)
	rand.New(rand.NewChaCha8([32]byte{})).Shuffle(len(content), func(i, j int) { content[i], content[j] = byte(i*j>>5), byte(i) })
	r.push(t, testImage(t, layerTar(t, entry{name: "a", content: string(content)})), "app:1")
	told, once := make(chan Progress, 1), sync.Once{}
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		answer, err := http.Get(r.URL + req.URL.Path)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer answer.Body.Close()
		w.Header().Set("Content-Type", answer.Header.Get("Content-Type"))
		if strings.Contains(req.URL.Path, "/blobs/") && answer.ContentLength > 1<<16 {
			_, _ = io.CopyN(w, answer.Body, 1<<15)
			_ = http.NewResponseController(w).Flush()
			once.Do(func() { <-told })
		}
		_, _ = io.Copy(w, answer.Body)
	}))
	t.Cleanup(slow.Close)
	s.progress = time.Millisecond
	var last Progress
	s.OnProgress = func(p Progress) {
		if last = p; p.Fetched >= 1<<15 {
			select {
			case told <- p:
			default:
			}
		}
	}
	ref := slow.Listener.Addr().String() + "/app:1"
	if _, err := s.Pull(t.Context(), ref, nil); err != nil {
		t.Fatal(err)
	}
	if last.Image != ref || last.Total < 1<<16 || last.Fetched < 1<<15 {
		t.Errorf("the last that was told is %+v", last)
	}
}

// A disk that is full fails a pull in words that say so, and has its space back.
func TestPullOntoAFullDisk(t *testing.T) {
	r := newRegistry(t, "")
	netnstest.RequireRoot(t)
	r.push(t, testImage(t, layerTar(t, entry{name: "a", content: strings.Repeat("x", 8<<20)})), "large:1")
	r.push(t, testImage(t, layerTar(t, entry{name: "a", content: "x"})), "small:1")
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=2m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Pull(t.Context(), r.host()+"/large:1", nil); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("pull of more than there is space for: %v", err)
	}
	expectLayers(t, s, 0)
	if _, err := s.Pull(t.Context(), r.host()+"/small:1", nil); err != nil {
		t.Errorf("pull of what there is space for: %v", err)
	}
}
