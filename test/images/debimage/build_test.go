// SPDX-License-Identifier: Apache-2.0

package debimage_test

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"eastwest/internal/kernel/netns/netnstest"
	"eastwest/test/images/debimage"
)

// build makes the image, in a folder that test runs share when the environment names one.
func build(t *testing.T, image string) string {
	t.Helper()
	if _, err := exec.LookPath("apt-get"); err != nil {
		t.Skip("images are built from Debian packages, and apt-get is not here")
	}
	dir := os.Getenv("EASTWEST_IMAGE_CACHE")
	if dir == "" {
		dir = t.TempDir()
	}
	file, err := debimage.Build(t.Context(), dir, image)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func TestImagesAreWholeArchives(t *testing.T) {
	for _, image := range debimage.Names() {
		file := build(t, image)
		manifest, err := tarball.LoadManifest(func() (io.ReadCloser, error) { return os.Open(file) })
		if err != nil {
			t.Fatal(err)
		}
		want := "docker.io/library/" + image + ":latest"
		if len(manifest) != 1 || len(manifest[0].RepoTags) != 1 || manifest[0].RepoTags[0] != want {
			t.Errorf("manifest %+v, want one image named %s", manifest, want)
		}
		again, err := debimage.Build(t.Context(), filepath.Dir(file), image)
		if err != nil || again != file {
			t.Errorf("second build: %q, %v; want the same file", again, err)
		}
	}
}

func TestUnknownImage(t *testing.T) {
	_, err := debimage.Build(t.Context(), t.TempDir(), "apache")
	if err == nil || !strings.Contains(err.Error(), "known are busybox, busybox-shared, nginx") {
		t.Errorf("error %v, want the known images", err)
	}
}

func TestBusyboxRuns(t *testing.T) {
	root := unpack(t, build(t, "busybox"))
	out, err := inside(root, "sh", "-c", "id -un && ls / | head -1").CombinedOutput()
	if err != nil || string(out) != "root\nbin\n" {
		t.Errorf("got %q, %v", out, err)
	}
}

// The program is started as a container would, in a network namespace of its own where port 80 is free.
func TestNginxAnswers(t *testing.T) {
	netnstest.RequireRoot(t)
	file := build(t, "nginx")
	image, err := tarball.ImageFromPath(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	root := unpack(t, file)
	script := "ip link set lo up; " + quoted(config.Config.Entrypoint) + " & " +
		"for i in $(seq 100); do wget -q -O /tmp/page http://127.0.0.1/ && break; sleep 0.2; done; cat /tmp/page; kill -QUIT $!; wait"
	cmd := exec.Command("unshare", "--net", "--mount", "sh", "-c",
		`mount --rbind /dev "$0/dev" && mount -t proc proc "$0/proc" && exec chroot "$0" /bin/sh -c "$1"`, root, script)
	cmd.Env = config.Config.Env
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "Welcome to nginx!") {
		t.Errorf("got %q, %v; want nginx's page", out, err)
	}
	if !strings.Contains(string(out), `"GET / HTTP/1.1" 200`) {
		t.Errorf("no access log on stdout in %q", out)
	}
}

func quoted(words []string) string { return "'" + strings.Join(words, "' '") + "'" }

func inside(root string, args ...string) *exec.Cmd {
	cmd := exec.Command("chroot", append([]string{root}, args...)...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin"}
	return cmd
}

// unpack extracts the image's files, with the few devices that programs open made as links and files.
func unpack(t *testing.T, file string) string {
	t.Helper()
	netnstest.RequireRoot(t)
	image, err := tarball.ImageFromPath(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	if err := extract(image, root); err != nil {
		t.Fatal(err)
	}
	return root
}

func extract(image v1.Image, root string) error {
	files := mutate.Extract(image)
	defer files.Close()
	for in := tar.NewReader(files); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		path := filepath.Join(root, h.Name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		switch h.Typeflag {
		case tar.TypeDir:
			err = os.MkdirAll(path, h.FileInfo().Mode())
		case tar.TypeSymlink:
			err = os.Symlink(h.Linkname, path)
		case tar.TypeLink:
			err = os.Link(filepath.Join(root, h.Linkname), path)
		default:
			var content []byte
			if content, err = io.ReadAll(in); err == nil {
				err = os.WriteFile(path, content, h.FileInfo().Mode())
			}
		}
		if err != nil {
			return err
		}
	}
}
