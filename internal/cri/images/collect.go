// SPDX-License-Identifier: Apache-2.0

package images

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Remove takes a name away from an image or, asked by id, the whole image; with the last name the image goes. Layers
// that neither an image nor a container needs any more are deleted. An image that is not there is no error.
func (s *Store) Remove(ref string) error {
	err := s.update(func(x *index) (bool, error) {
		i := x.find(ref)
		if i < 0 {
			return false, nil
		}
		img := x.Images[i]
		if norm, err := Normalize(ref); err == nil && img.ID != ref && slices.Contains(img.Names, norm) && len(img.Names) > 1 {
			x.Images[i].Names = without(img.Names, []string{norm})
			return true, nil
		}
		x.Images = slices.Delete(x.Images, i, i+1)
		return true, nil
	})
	if err != nil {
		return fmt.Errorf("remove image %q: %w", ref, err)
	}
	return s.Collect()
}

// Pin keeps an image's layers for a container, whatever happens to the image, until Unpin. It fails with ErrNotFound when
// a layer is gone already, because the image was removed in between.
func (s *Store) Pin(container string, img Image) error {
	release, err := s.hold()
	if err != nil {
		return err
	}
	defer release()
	for _, l := range img.Layers {
		if _, err := s.layerInfo(l); err != nil {
			return fmt.Errorf("%w: layer %s of %s is gone; pull or load it again", ErrNotFound, l, img.ID)
		}
	}
	kept := func(*os.File) error { return nil } // a machine that loses power has no containers afterwards
	return replaceFile(filepath.Join(s.pinsDir(), container), []byte(strings.Join(img.Layers, "\n")), kept)
}

// Unpin gives the layers of a container free; those of an image that is gone, and that no other container needs, are
// deleted. A container without any is no error.
func (s *Store) Unpin(container string) error {
	pin := filepath.Join(s.pinsDir(), container)
	layers, err := os.ReadFile(pin)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = os.Remove(pin)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("release layers of container %s: %w", container, err)
	}
	idx, err := s.read()
	if err != nil {
		return err
	}
	for _, layer := range strings.Fields(string(layers)) {
		if !slices.ContainsFunc(idx.Images, func(m Image) bool { return slices.Contains(m.Layers, layer) }) {
			return s.Collect()
		}
	}
	return nil
}

// Collect deletes layers, configurations and leftovers of interrupted work that nothing needs. While another process or
// goroutine adds an image it does nothing: the next call does it.
func (s *Store) Collect() error {
	release, err := lockFile(filepath.Join(s.dir, "use.lock"), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("lock image layers: %w", err)
	}
	defer release()
	layers, configs, err := s.needed()
	if err != nil {
		return err
	}
	leftovers, _ := filepath.Glob(filepath.Join(s.dir, "load-*"))
	torn, _ := filepath.Glob(filepath.Join(s.pinsDir(), temporary+"*"))
	leftovers = append(leftovers, torn...)
	errs := []error{removeOthers(s.layersDir(), layers), removeOthers(s.blobsDir(), configs)}
	for _, dir := range leftovers {
		if err := os.RemoveAll(dir); err != nil {
			errs = append(errs, fmt.Errorf("remove %s: %w", dir, err))
		}
	}
	return errors.Join(errs...)
}

// needed returns the layers and configurations in use, by hex digest.
func (s *Store) needed() (layers, configs map[string]bool, err error) {
	idx, err := s.read()
	if err != nil {
		return nil, nil, err
	}
	layers, configs = map[string]bool{}, map[string]bool{}
	for _, img := range idx.Images {
		configs[hexOf(img.ID)] = true
		for _, l := range img.Layers {
			layers[l] = true
		}
	}
	pins, err := os.ReadDir(s.pinsDir())
	if err != nil {
		return nil, nil, fmt.Errorf("list pinned layers: %w", err)
	}
	for _, p := range pins {
		raw, err := os.ReadFile(filepath.Join(s.pinsDir(), p.Name()))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, nil, fmt.Errorf("read pinned layers: %w", err)
		}
		for _, l := range strings.Fields(string(raw)) {
			layers[l] = true
		}
	}
	return layers, configs, nil
}

func removeOthers(dir string, keep map[string]bool) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("collect %s: %w", dir, err)
	}
	var errs []error
	for _, e := range entries {
		if keep[e.Name()] {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			errs = append(errs, fmt.Errorf("collect: %w", err))
		}
	}
	return errors.Join(errs...)
}

// Usage is what the store takes on its file system.
type Usage struct {
	Bytes, Inodes uint64
}

// Usage adds up the layers.
func (s *Store) Usage() (Usage, error) {
	entries, err := os.ReadDir(s.layersDir())
	if err != nil {
		return Usage{}, fmt.Errorf("list layers: %w", err)
	}
	var u Usage
	for _, e := range entries {
		if info, err := s.layerInfo(e.Name()); err == nil {
			u.Bytes += uint64(info.Size)
			u.Inodes += uint64(info.Inodes)
		}
	}
	return u, nil
}
