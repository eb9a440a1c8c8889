// SPDX-License-Identifier: Apache-2.0

package images

import (
	"context"
	"fmt"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// parallelLayers bounds how many layers of one image are fetched and unpacked at once.
const parallelLayers = 3

// add unpacks what the store lacks of img and records it under names and digests.
func (s *Store) add(ctx context.Context, img v1.Image, names, digests []string) (Image, error) {
	release, err := s.hold()
	if err != nil {
		return Image{}, err
	}
	defer release()
	record, blob, err := describe(img)
	if err != nil {
		return Image{}, err
	}
	record.Names, record.Digests = names, digests
	if record.Size, err = s.unpackAll(ctx, img); err != nil {
		return Image{}, err
	}
	if err := writeAtomically(filepath.Join(s.blobsDir(), hexOf(record.ID)), blob); err != nil {
		return Image{}, err
	}
	err = s.update(func(x *index) (bool, error) { x.put(record); return true, nil })
	return record, err
}

// hold keeps layers that no image names yet from being collected until release is called.
func (s *Store) hold() (release func(), err error) {
	release, err = lockFile(filepath.Join(s.dir, "use.lock"), unix.LOCK_SH)
	if err != nil {
		return nil, fmt.Errorf("lock image layers: %w", err)
	}
	return release, nil
}

func describe(img v1.Image) (Image, []byte, error) {
	blob, err := img.RawConfigFile()
	if err != nil {
		return Image{}, nil, fmt.Errorf("read image configuration: %w", err)
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		return Image{}, nil, fmt.Errorf("read image configuration: %w", err)
	}
	id, err := img.ConfigName()
	if err != nil {
		return Image{}, nil, fmt.Errorf("read image configuration: %w", err)
	}
	if cfg.OS != "" && cfg.OS != "linux" {
		return Image{}, nil, fmt.Errorf("image is for operating system %q, this node runs linux", cfg.OS)
	}
	record := Image{ID: id.String(), Config: cfg.Config}
	for _, d := range cfg.RootFS.DiffIDs {
		if d.Algorithm != "sha256" {
			return Image{}, nil, fmt.Errorf("layer digest %s: only sha256 is known", d)
		}
		record.Layers = append(record.Layers, d.Hex)
	}
	return record, blob, nil
}

// unpackAll unpacks the missing layers and returns the size of all of them.
func (s *Store) unpackAll(ctx context.Context, img v1.Image) (int64, error) {
	layers, err := img.Layers()
	if err != nil {
		return 0, fmt.Errorf("list image layers: %w", err)
	}
	sizes := make([]int64, len(layers))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelLayers)
	for i, layer := range layers {
		group.Go(func() (err error) {
			sizes[i], err = s.unpackLayer(ctx, layer)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return 0, err
	}
	var total int64
	for _, n := range sizes {
		total += n
	}
	return total, nil
}
