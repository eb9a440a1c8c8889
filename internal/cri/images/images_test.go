// SPDX-License-Identifier: Apache-2.0

package images

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"golang.org/x/sys/unix"

	"eastwest/internal/kernel/netns/netnstest"
)

func TestNormalize(t *testing.T) {
	digest := "sha256:" + strings.Repeat("a", 64)
	for _, tc := range []struct{ in, want string }{
		{"nginx", "docker.io/library/nginx:latest"},
		{"docker.io/library/nginx:latest", "docker.io/library/nginx:latest"},
		{"docker.io/nginx:1", "docker.io/library/nginx:1"},
		{"me/app", "docker.io/me/app:latest"},
		{"eastwest.local/tool", "eastwest.local/tool:latest"},
		{"127.0.0.1:5000/x:y", "127.0.0.1:5000/x:y"},
		{"nginx@" + digest, "docker.io/library/nginx@" + digest},
		{"nginx:1@" + digest, "docker.io/library/nginx@" + digest},
	} {
		got, err := Normalize(tc.in)
		if err != nil || got != tc.want {
			t.Errorf("Normalize(%q) = %q, %v; want %q", tc.in, got, err, tc.want)
		}
	}
	for _, bad := range []string{"", "UPPER/x", "a b", "x:" + strings.Repeat("t", 200)} {
		if got, err := Normalize(bad); err == nil {
			t.Errorf("Normalize(%q) = %q, want an error", bad, got)
		}
	}
}

// entry is a file of a layer.
type entry struct {
	name, link, content string
	kind                byte
}

func layerTar(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		if e.kind == 0 {
			e.kind = tar.TypeReg
		}
		hdr := &tar.Header{Name: e.name, Typeflag: e.kind, Linkname: e.link, Mode: 0o755, Size: int64(len(e.content))}
		if err := w.WriteHeader(hdr); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(e.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func testImage(t testing.TB, layers ...[]byte) v1.Image {
	t.Helper()
	img := empty.Image
	for _, raw := range layers {
		l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(raw)), nil })
		if err != nil {
			t.Fatal(err)
		}
		if img, err = mutate.AppendLayers(img, l); err != nil {
			t.Fatal(err)
		}
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	cfg = cfg.DeepCopy()
	cfg.OS, cfg.Architecture = "linux", platform().Architecture
	if img, err = mutate.ConfigFile(img, cfg); err != nil {
		t.Fatal(err)
	}
	return img
}

func dockerFile(t testing.TB, img v1.Image, ref string) string {
	t.Helper()
	archive := filepath.Join(t.TempDir(), "docker.tar")
	tag, err := name.NewTag(ref, name.WeakValidation)
	if err != nil {
		t.Fatal(err)
	}
	if err := tarball.WriteToFile(archive, tag, img); err != nil {
		t.Fatal(err)
	}
	return archive
}

func layoutDir(t testing.TB, img v1.Image, ref string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "oci")
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := path.AppendImage(img, layout.WithAnnotations(map[string]string{annotationRefName: ref})); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestLoadArchivesAndRemove(t *testing.T) {
	netnstest.RequireRoot(t)
	root := t.TempDir()
	store, err := Open(root)
	if err != nil {
		t.Fatal(err)
	}
	shared := layerTar(t, entry{name: "etc/", kind: tar.TypeDir}, entry{name: "etc/a", content: "shared"})
	docker := testImage(t, shared, layerTar(t, entry{name: "one", content: "1"}))
	oci := testImage(t, shared, layerTar(t, entry{name: "etc/.wh.a"}))

	for _, tc := range []struct{ archive, want string }{
		{dockerFile(t, docker, "nginx"), "docker.io/library/nginx:latest"},
		{layoutDir(t, oci, "example.com/two:v1"), "example.com/two:v1"},
	} {
		names, err := store.Load(t.Context(), tc.archive)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{tc.want}, names); diff != "" {
			t.Error(diff)
		}
	}

	other, err := Open(root) // as another process
	if err != nil {
		t.Fatal(err)
	}
	img, err := other.Get("nginx")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Get(img.ID[:20]); err != nil {
		t.Errorf("by the beginning of its id: %v", err)
	}
	if raw, err := os.ReadFile(filepath.Join(other.LayerDirs(img)[1], "etc/a")); err != nil || string(raw) != "shared" {
		t.Errorf("content of lowest layer: %q, %v", raw, err)
	}

	if err := other.Pin("container", img); err != nil {
		t.Fatal(err)
	}
	if err := other.Remove("nginx"); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Get("nginx"); !errors.Is(err, ErrNotFound) {
		t.Errorf("removed image: %v", err)
	}
	expectLayers(t, store, 3)
	if err := store.Unpin("container"); err != nil {
		t.Fatal(err)
	}
	if err := store.Remove("example.com/two:v1"); err != nil {
		t.Fatal(err)
	}
	expectLayers(t, store, 0)
}

func expectLayers(t *testing.T, s *Store, want int) {
	t.Helper()
	entries, err := os.ReadDir(s.layersDir())
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != want {
		t.Errorf("%d layers in the store, want %d", len(entries), want)
	}
}

func TestAddBinaryTwiceWritesOnce(t *testing.T) {
	netnstest.RequireRoot(t)
	store, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "tool")
	add := func(content string) Image {
		t.Helper()
		if err := os.WriteFile(file, []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := store.AddBinary(t.Context(), "eastwest.local/tool", file, v1.Config{Cmd: []string{"serve"}}); err != nil {
			t.Fatal(err)
		}
		img, err := store.Get("eastwest.local/tool")
		if err != nil {
			t.Fatal(err)
		}
		return img
	}
	first := add("program")
	before, err := stampOf(store.indexPath())
	if err != nil {
		t.Fatal(err)
	}
	add("program")
	if after, _ := stampOf(store.indexPath()); after != before {
		t.Error("the index was written again for the same program")
	}
	if second := add("another"); second.ID == first.ID {
		t.Error("a changed program kept the image's id")
	}
	if diff := cmp.Diff([]string{"/tool"}, first.Config.Entrypoint); diff != "" {
		t.Error(diff)
	}
	raw, err := os.ReadFile(filepath.Join(store.LayerDirs(first)[0], "tool"))
	if err != nil || string(raw) != "program" {
		t.Errorf("program in the layer: %q, %v", raw, err)
	}
}

func TestUnpack(t *testing.T) {
	netnstest.RequireRoot(t)
	dir := t.TempDir()
	raw := layerTar(t,
		entry{name: "run/", kind: tar.TypeDir}, entry{name: "var/", kind: tar.TypeDir},
		entry{name: "var/run", link: "/run", kind: tar.TypeSymlink}, entry{name: "var/run/file", content: "x"},
		entry{name: "hard", link: "run/file", kind: tar.TypeLink},
		entry{name: "gone/.wh.file"}, entry{name: "hidden/.wh..wh..opq"},
	)
	if _, err := unpack(bytes.NewReader(raw), dir); err != nil {
		t.Fatal(err)
	}
	var file, hard, white unix.Stat_t
	for path, st := range map[string]*unix.Stat_t{"run/file": &file, "hard": &hard, "gone/file": &white} {
		if err := unix.Lstat(filepath.Join(dir, path), st); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
	}
	if file.Ino != hard.Ino {
		t.Error("hard link is a file of its own")
	}
	if white.Mode&unix.S_IFMT != unix.S_IFCHR || white.Rdev != 0 {
		t.Errorf("whiteout: mode %o, device %d", white.Mode, white.Rdev)
	}
	value := make([]byte, 8)
	if n, err := unix.Getxattr(filepath.Join(dir, "hidden"), "trusted.overlay.opaque", value); err != nil || string(value[:n]) != "y" {
		t.Errorf("opaque folder: %q, %v", value[:max(n, 0)], err)
	}
}

func TestUnpackStaysInside(t *testing.T) {
	netnstest.RequireRoot(t)
	for name, entries := range map[string][]entry{
		"dots":           {{name: "../escaped", content: "x"}},
		"dots inside":    {{name: "a/../../escaped", content: "x"}},
		"link to parent": {{name: "up", link: "..", kind: tar.TypeSymlink}, {name: "up/escaped", content: "x"}},
		"absolute link":  {{name: "up", link: "/tmp", kind: tar.TypeSymlink}, {name: "up/escaped-cri-test", content: "x"}},
		"hard link":      {{name: "h", link: "../../../../etc/passwd", kind: tar.TypeLink}},
		"whiteout":       {{name: ".wh..", content: ""}},
	} {
		outer := t.TempDir()
		dir := filepath.Join(outer, "layer")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		_, _ = unpack(bytes.NewReader(layerTar(t, entries...)), dir)
		left, err := os.ReadDir(outer)
		if err != nil || len(left) != 1 {
			t.Errorf("%s: %v outside of the layer, %v", name, left, err)
		}
		if _, err := os.Lstat("/tmp/escaped-cri-test"); err == nil {
			t.Errorf("%s: file written to /tmp", name)
		}
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add(layerTar(f, entry{name: "a", content: "x"}, entry{name: "l", link: "/", kind: tar.TypeSymlink}, entry{name: "l/x", content: "y"}))
	f.Fuzz(func(t *testing.T, raw []byte) {
		outer := t.TempDir()
		dir := filepath.Join(outer, "layer")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		_, _ = unpack(bytes.NewReader(raw), dir)
		if left, _ := os.ReadDir(outer); len(left) != 1 {
			t.Fatalf("written outside of the layer: %v", left)
		}
	})
}

// An archive that is none, or is torn, is refused by its name, and nothing of it stays.
func TestBadArchives(t *testing.T) {
	netnstest.RequireRoot(t)
	store, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(dockerFile(t, testImage(t, layerTar(t, entry{name: "a", content: strings.Repeat("x", 1<<16)})), "app:1"))
	if err != nil {
		t.Fatal(err)
	}
	bad := filepath.Join(t.TempDir(), "bad.tar")
	for name, content := range map[string][]byte{
		"empty": {}, "no archive": []byte("hello"), "torn": whole[:len(whole)/2], "of something else": layerTar(t, entry{name: "a", content: "x"}),
	} {
		if err := os.WriteFile(bad, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if names, err := store.Load(t.Context(), bad); err == nil || !strings.Contains(err.Error(), "archive") {
			t.Errorf("%s: loaded %v, error %v", name, names, err)
		}
	}
	if err := store.Collect(); err != nil {
		t.Fatal(err)
	}
	expectLayers(t, store, 0)
	if all, err := store.List(); err != nil || len(all) != 0 {
		t.Errorf("images in the store: %v, %v", all, err)
	}
}
