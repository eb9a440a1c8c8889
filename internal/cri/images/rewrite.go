// SPDX-License-Identifier: Apache-2.0

package images

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// Rewrite writes the images of an archive that Load takes to target, as `docker save` would, with their names in full, and
// returns the names. Other runtimes read that form alike, but not every form that Load takes.
func Rewrite(ctx context.Context, archive, target string) (names []string, err error) {
	scratch, err := os.MkdirTemp(filepath.Dir(target), "rewrite-")
	if err != nil {
		return nil, fmt.Errorf("rewrite image archive: %w", err)
	}
	defer os.RemoveAll(scratch)
	out := map[name.Reference]v1.Image{}
	err = readArchive(ctx, archive, scratch, func(img v1.Image, tags []string) error {
		if len(tags) == 0 {
			return fmt.Errorf("image archive %s has an image without a name: save it by its name", archive)
		}
		for _, tag := range tags {
			full, ref, err := tagged(tag)
			if err != nil {
				return err
			}
			names, out[ref] = append(names, full), img
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if err := tarball.MultiRefWriteToFile(target, out); err != nil {
		return nil, fmt.Errorf("rewrite image archive %s: %w", archive, err)
	}
	return names, nil
}

func tagged(text string) (string, name.Reference, error) {
	full, err := Normalize(text)
	if err != nil {
		return "", nil, err
	}
	ref, err := name.NewTag(full)
	if err != nil {
		return "", nil, fmt.Errorf("image %s: an archive for another runtime needs a name with a tag: %w", full, err)
	}
	return full, ref, nil
}

// WriteBinary writes an archive of one image that holds nothing but a static program, as AddBinary makes it, and returns its name.
func WriteBinary(imageName, file, target string, config v1.Config) (string, error) {
	full, ref, err := tagged(imageName)
	if err != nil {
		return "", err
	}
	base := filepath.Base(file)
	if len(config.Entrypoint) == 0 {
		config.Entrypoint = []string{"/" + base}
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return programTar(file, base) })
	if err != nil {
		return "", fmt.Errorf("make image %s of %s: %w", full, file, err)
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return "", fmt.Errorf("make image %s of %s: %w", full, file, err)
	}
	img, err = mutate.ConfigFile(img, &v1.ConfigFile{
		Architecture: platform().Architecture, OS: "linux", Config: config, RootFS: rootFS(img),
	})
	if err == nil {
		err = tarball.WriteToFile(target, ref, img)
	}
	if err != nil {
		return "", fmt.Errorf("write image %s of %s: %w", full, file, err)
	}
	return full, nil
}

func rootFS(img v1.Image) v1.RootFS {
	config, err := img.ConfigFile()
	if err != nil {
		return v1.RootFS{}
	}
	return config.RootFS
}

// programTar reads as the tar file of one executable.
func programTar(file, base string) (io.ReadCloser, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	reader, writer := io.Pipe()
	go func() {
		defer f.Close()
		archive := tar.NewWriter(writer)
		err := archive.WriteHeader(programHeader(base, info.Size()))
		if err == nil {
			_, err = io.Copy(archive, f)
		}
		if err == nil {
			err = archive.Close()
		}
		writer.CloseWithError(err)
	}()
	return reader, nil
}
