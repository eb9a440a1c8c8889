// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	goruntime "runtime"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// registries are those that the suite's images are of. The runtime asks ours in their place.
var registries = []string{"registry.k8s.io", "k8s.gcr.io", "gcr.io"}

// startRegistry serves the suite's images from memory, by HTTP on loopback, until this program ends, and returns its URL.
func startRegistry(out string) (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("start registry: %w", err)
	}
	server := &http.Server{Handler: registry.New(registry.Logger(log.New(io.Discard, "", 0)))}
	go server.Serve(listener) //nolint:errcheck // it serves as long as we are there
	images, err := catalogue(out)
	if err != nil {
		return "", err
	}
	for _, i := range images {
		for _, path := range i.paths {
			ref, err := name.ParseReference(listener.Addr().String() + "/" + path)
			if err != nil {
				return "", err
			}
			if err := remote.Write(ref, i.image, remote.WithJobs(1)); err != nil {
				return "", fmt.Errorf("push image %s: %w", path, err)
			}
		}
	}
	return "http://" + listener.Addr().String(), nil
}

// file is one that an image has more than the one it is made from.
type file struct {
	name, content string
	mode          int64
}

// catalogue lists the images that specs name, by the paths of their repositories, as Debian's packages can give them.
func catalogue(out string) ([]entry, error) {
	c := &images{}
	busybox, nginx := c.load(out, "busybox-shared"), c.load(out, "nginx")
	nonewprivs, err := os.ReadFile(filepath.Join(out, "nonewprivs"))
	if err != nil {
		return nil, fmt.Errorf("read program of image nonewprivs: %w", err)
	}
	tools := c.change(busybox, v1.Config{Cmd: []string{"sh"}},
		file{"usr/bin/pgrep", "#!/bin/sh\nfor p in /proc/[0-9]*; do\n\tread -r name <$p/comm && [ \"$name\" = \"$1\" ] && echo \"${p#/proc/}\"\ndone\n", 0o755},
		file{"usr/bin/ipcs", "#!/bin/sh\nexec cat /proc/sysvipc/shm\n", 0o755})
	user := func(name string) v1.Image { return c.change(tools, v1.Config{Cmd: []string{"sh"}, User: name}) }
	numbered := func(n string) v1.Image {
		return c.change(tools, v1.Config{Cmd: []string{"sh"}, Labels: map[string]string{"test": n}})
	}
	list := []entry{
		{tools, []string{e2e + "busybox:1.29-2", staging + "test-image-tag:all"}},
		{nginx, []string{e2e + "nginx:1.14-2"}},
		{c.change(nginx, v1.Config{Entrypoint: []string{"nginx", "-g", "daemon off;"}, StopSignal: "SIGQUIT"},
			file{"etc/nginx/conf.d/default.conf", "server { listen 12003; root /usr/share/nginx/html; }\n", 0o644}),
			[]string{staging + "hostnet-nginx-" + goruntime.GOARCH}},
		{c.change(tools, v1.Config{Cmd: []string{"sh", "-c", "echo httpd starts; exec httpd -f -h /srv"}},
			file{"srv/index.html", "<html><body>It works!</body></html>\n", 0o644}), []string{e2e + "httpd:2.4.39-4"}},
		{c.change(tools, v1.Config{Entrypoint: []string{"/nonewprivs"}}, file{"nonewprivs", string(nonewprivs), 0o4755}),
			[]string{e2e + "nonewprivs:1.3"}},
		{c.change(tools, v1.Config{Entrypoint: []string{"sleep", "infinity"}}), []string{"pause:3.9"}},
		{user("1002"), []string{staging + "test-image-user-uid"}},
		{user("www-data"), []string{staging + "test-image-user-username"}},
		{user("1003:33"), []string{staging + "test-image-user-uid-group"}},
		{user("www-data:33"), []string{staging + "test-image-user-username-group"}},
		{c.change(tools, v1.Config{Cmd: []string{"sh"}, User: "1000"},
			file{"etc/passwd", "root:x:0:0:root:/root:/bin/sh\ndefault-user:x:1000:1000::/home/default-user:/bin/sh\n", 0o644},
			file{"etc/group", "root:x:0:\ndefault-user:x:1000:\ngroup-defined-in-image:x:50000:default-user\n", 0o644}),
			[]string{staging + "test-image-predefined-group"}},
		{numbered("latest"), []string{staging + "test-image-latest"}},
		{numbered("tag"), []string{staging + "test-image-tag:test"}},
		{numbered("1"), []string{staging + "test-image-1"}},
		{numbered("2"), []string{staging + "test-image-2"}},
		{numbered("3"), []string{staging + "test-image-3"}},
		{numbered("tags"), []string{staging + "test-image-tags:1", staging + "test-image-tags:2", staging + "test-image-tags:3"}},
	}
	return list, c.err
}

const (
	e2e     = "e2e-test-images/"
	staging = "k8s-staging-cri-tools/"
)

type entry struct {
	image v1.Image
	paths []string
}

// images makes images and keeps the first error.
type images struct{ err error }

func (c *images) load(dir, image string) v1.Image {
	img, err := tarball.ImageFromPath(filepath.Join(dir, image+".tar"), nil)
	if err != nil && c.err == nil {
		c.err = fmt.Errorf("read image %s: %w", image, err)
	}
	return img
}

// change makes an image of another: with its search path, the given configuration, and one layer more if there are files.
func (c *images) change(from v1.Image, config v1.Config, files ...file) v1.Image {
	if c.err != nil {
		return from
	}
	img, err := appended(from, files)
	if err == nil {
		config.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
		img, err = mutate.Config(img, config)
	}
	if err != nil {
		c.err = fmt.Errorf("make image: %w", err)
		return from
	}
	return img
}

func appended(from v1.Image, files []file) (v1.Image, error) {
	if len(files) == 0 {
		return from, nil
	}
	var content bytes.Buffer
	w := tar.NewWriter(&content)
	for _, f := range files {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: f.name, Mode: f.mode, Size: int64(len(f.content))}); err != nil {
			return nil, err
		}
		if _, err := io.WriteString(w, f.content); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(content.Bytes())), nil
	})
	if err != nil {
		return nil, err
	}
	return mutate.AppendLayers(from, layer)
}
