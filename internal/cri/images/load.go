// SPDX-License-Identifier: Apache-2.0

package images

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// Annotations by which an OCI layout names its images: the one of the specification, and containerd's with the whole name.
const (
	annotationRefName   = "org.opencontainers.image.ref.name"
	annotationImageName = "io.containerd.image.name"
)

// Load puts the images of an archive into the store and returns their names, or the id of an image that has none. The
// archive is an OCI image layout, as a folder or as a tar file, or a tar file as `docker save` writes it; tar files may
// be compressed with gzip.
func (s *Store) Load(ctx context.Context, archive string) (names []string, err error) {
	release, err := s.hold()
	if err != nil {
		return nil, err
	}
	defer release()
	dir, err := os.MkdirTemp(s.dir, "load-")
	if err != nil {
		return nil, fmt.Errorf("load image archive: %w", err)
	}
	defer os.RemoveAll(dir)
	err = readArchive(ctx, archive, dir, func(img v1.Image, tags []string) error {
		got, err := s.loadImage(ctx, img, tags)
		names = append(names, got...)
		return err
	})
	return names, err
}

// readArchive calls visit for each image of an archive that this node can run, with the names that the archive gives it. What has to be
// unpacked goes to dir, and must be there as long as the images are read.
func readArchive(ctx context.Context, archive, dir string, visit func(img v1.Image, names []string) error) error {
	info, err := os.Stat(archive)
	if err != nil {
		return fmt.Errorf("load image archive: %w", err)
	}
	if info.IsDir() {
		return readLayout(archive, visit)
	}
	kind, tarFile, err := openArchive(ctx, archive, dir)
	if err != nil {
		return fmt.Errorf("load image archive %s: %w", archive, err)
	}
	if kind == ociArchive {
		return readLayout(filepath.Join(dir, "layout"), visit)
	}
	return readDocker(tarFile, visit)
}

// readDocker reads a `docker save` archive, whose manifest.json lists images with their tags.
func readDocker(path string, visit func(v1.Image, []string) error) error {
	opener := tarball.Opener(func() (readCloser, error) { return os.Open(path) })
	manifest, err := tarball.LoadManifest(opener)
	if err != nil {
		return fmt.Errorf("read manifest.json of archive: %w", err)
	}
	for _, m := range manifest {
		img, tags, err := dockerImage(opener, m, len(manifest))
		if err != nil {
			return err
		}
		if err := visit(img, tags); err != nil {
			return err
		}
	}
	return nil
}

func dockerImage(opener tarball.Opener, m tarball.Descriptor, images int) (v1.Image, []string, error) {
	var tag *name.Tag
	if images > 1 {
		if len(m.RepoTags) == 0 {
			return nil, nil, errors.New("archive has several images, and one without a name; save them one by one")
		}
		t, err := name.NewTag(m.RepoTags[0], name.WeakValidation)
		if err != nil {
			return nil, nil, fmt.Errorf("archive names an image %q: %w", m.RepoTags[0], err)
		}
		tag = &t
	}
	img, err := tarball.Image(opener, tag)
	if err != nil {
		return nil, nil, fmt.Errorf("read image from archive: %w", err)
	}
	return img, m.RepoTags, nil
}

// readLayout reads an OCI image layout folder.
func readLayout(dir string, visit func(v1.Image, []string) error) error {
	path, err := layout.FromPath(dir)
	if err != nil {
		return fmt.Errorf("read image layout %s: %w", dir, err)
	}
	idx, err := path.ImageIndex()
	if err != nil {
		return fmt.Errorf("read image layout %s: %w", dir, err)
	}
	manifest, err := idx.IndexManifest()
	if err != nil {
		return fmt.Errorf("read index of image layout %s: %w", dir, err)
	}
	seen := false
	for _, desc := range manifest.Manifests {
		img, err := imageOf(idx, desc)
		if err != nil {
			return fmt.Errorf("image layout %s: %w", dir, err)
		}
		if img == nil {
			continue
		}
		seen = true
		if err := visit(img, layoutNames(desc)); err != nil {
			return err
		}
	}
	if !seen {
		return fmt.Errorf("image layout %s has no image for linux/%s", dir, platform().Architecture)
	}
	return nil
}

// imageOf returns the image that a descriptor stands for, nil when it is for another platform.
func imageOf(idx v1.ImageIndex, desc v1.Descriptor) (v1.Image, error) {
	switch {
	case desc.MediaType.IsIndex():
		child, err := idx.ImageIndex(desc.Digest)
		if err != nil {
			return nil, err
		}
		return childForPlatform(child)
	case desc.MediaType.IsImage():
		if desc.Platform != nil && !desc.Platform.Satisfies(*platform()) {
			return nil, nil
		}
		return idx.Image(desc.Digest)
	default:
		return nil, nil
	}
}

func childForPlatform(idx v1.ImageIndex) (v1.Image, error) {
	manifest, err := idx.IndexManifest()
	if err != nil {
		return nil, err
	}
	for _, desc := range manifest.Manifests {
		if desc.MediaType.IsImage() && desc.Platform != nil && desc.Platform.Satisfies(*platform()) {
			return idx.Image(desc.Digest)
		}
	}
	return nil, fmt.Errorf("no image for linux/%s in the index", platform().Architecture)
}

// layoutNames are the names a layout's descriptor gives. A bare tag ("latest") is no name.
func layoutNames(desc v1.Descriptor) []string {
	if n := desc.Annotations[annotationImageName]; n != "" {
		return []string{n}
	}
	if n := desc.Annotations[annotationRefName]; strings.ContainsAny(n, "/:") {
		return []string{n}
	}
	return nil
}

func (s *Store) loadImage(ctx context.Context, img v1.Image, tags []string) ([]string, error) {
	var names, digests []string
	for _, tag := range tags {
		full, err := Normalize(tag)
		if err != nil {
			return nil, err
		}
		if strings.Contains(full, "@") {
			digests = append(digests, full)
		} else {
			names = append(names, full)
		}
	}
	record, err := s.add(ctx, img, names, digests)
	if err != nil {
		return nil, fmt.Errorf("load image %s: %w", strings.Join(append(names, digests...), ", "), err)
	}
	if len(names)+len(digests) == 0 {
		return []string{record.ID}, nil
	}
	return append(names, digests...), nil
}
