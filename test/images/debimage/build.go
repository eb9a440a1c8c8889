// SPDX-License-Identifier: Apache-2.0

// Package debimage builds container images from Debian packages, without a container tool and without root: recipe →
// packages (apt) → one layer (files of the packages, remapped to a merged /usr, and the recipe's own) → docker archive.
package debimage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// Names returns the images that Build knows, sorted.
func Names() []string { return slices.Sorted(maps.Keys(recipes())) }

// Build writes the image as a docker archive to dir/IMAGE.tar and returns that path. A file that is there already is kept
// as it is. The image is named docker.io/library/IMAGE:latest.
func Build(ctx context.Context, dir, image string) (string, error) {
	recipe, ok := recipes()[image]
	if !ok {
		return "", fmt.Errorf("no recipe for image %q: known are %s", image, strings.Join(Names(), ", "))
	}
	file := filepath.Join(dir, image+".tar")
	if _, err := os.Stat(file); err == nil {
		return file, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("create folder for images: %w", err)
	}
	content, err := layerOf(ctx, filepath.Join(dir, "debs"), recipe)
	if err != nil {
		return "", fmt.Errorf("build image %s: %w", image, err)
	}
	if err := write(file, "docker.io/library/"+image+":latest", content, recipe.config); err != nil {
		return "", fmt.Errorf("build image %s: %w", image, err)
	}
	return file, nil
}

func layerOf(ctx context.Context, cache string, r recipe) ([]byte, error) {
	cache, err := filepath.Abs(cache)
	if err != nil {
		return nil, fmt.Errorf("find folder for packages: %w", err)
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return nil, fmt.Errorf("create folder for packages: %w", err)
	}
	packages, err := closure(ctx, cache, r.packages)
	if err != nil {
		return nil, err
	}
	debs, err := download(ctx, cache, packages)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	l := newLayer(&out)
	for _, deb := range debs {
		if err := l.addPackage(ctx, deb, r.keep); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(l.addFiles(r.files), l.close()); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// write makes the archive beside its place and moves it there whole.
func write(file, reference string, content []byte, config v1.Config) error {
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(content)), nil
	})
	if err != nil {
		return err
	}
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return err
	}
	image, err = mutate.ConfigFile(image, configFile(image, config))
	if err != nil {
		return err
	}
	tag, err := name.NewTag(reference)
	if err != nil {
		return err
	}
	if err := tarball.WriteToFile(file+".part", tag, image); err != nil {
		return errors.Join(err, os.Remove(file+".part"))
	}
	return os.Rename(file+".part", file)
}

func configFile(image v1.Image, config v1.Config) *v1.ConfigFile {
	full := &v1.ConfigFile{}
	if have, err := image.ConfigFile(); err == nil {
		full = have.DeepCopy()
	}
	full.Architecture, full.OS, full.Config = runtime.GOARCH, "linux", config
	return full
}
