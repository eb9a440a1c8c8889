// SPDX-License-Identifier: Apache-2.0

package cri

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	securejoin "github.com/cyphar/filepath-securejoin"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"eastwest/internal/cri/rootfs"
)

// mountImage mounts an image as a volume of a container and returns the folder to give it. The mount is the
// container's own and goes with it. The request learns which image that is, for the container's status.
func (s *Server) mountImage(id string, i int, m *runtimeapi.Mount) (string, error) {
	if !m.GetReadonly() {
		return "", errors.New("an image is mounted read-only: say so")
	}
	img, err := s.images.Get(m.GetImage().GetImage())
	if err != nil {
		return "", err
	}
	m.Image.ImageRef = img.ID
	name := strconv.Itoa(i)
	if err := s.images.Pin(id+"."+name, img); err != nil {
		return "", err
	}
	target := filepath.Join(s.imageMounts(id), name)
	work := filepath.Join(s.containerRecords(), id, "image-"+name)
	if err := rootfs.Mount(target, s.images.LayerDirs(img), work); err != nil {
		return "", err
	}
	if m.GetImageSubPath() == "" {
		return target, nil
	}
	sub, err := securejoin.SecureJoin(target, m.GetImageSubPath())
	if err != nil {
		return "", fmt.Errorf("resolve path %q in image: %w", m.GetImageSubPath(), err)
	}
	if _, err := os.Stat(sub); err != nil {
		return "", fmt.Errorf("path %q in image %s: %w", m.GetImageSubPath(), m.GetImage().GetImage(), err)
	}
	return sub, nil
}

func (s *Server) imageMounts(id string) string { return filepath.Join(s.bundle(id), "images") }

// unmountImages undoes mountImage for all of a container's volumes.
func (s *Server) unmountImages(id string) error {
	entries, err := os.ReadDir(s.imageMounts(id))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list image volumes: %w", err)
	}
	var errs []error
	for _, e := range entries {
		errs = append(errs, rootfs.Unmount(filepath.Join(s.imageMounts(id), e.Name())), s.images.Unpin(id+"."+e.Name()))
	}
	return errors.Join(errs...)
}
