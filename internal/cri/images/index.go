// SPDX-License-Identifier: Apache-2.0

package images

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// index is the content of index.json. A value that was read is never changed: update works on a deep enough copy.
type index struct {
	Images []Image `json:"images"`
}

// fileStamp tells one version of a file from the next: every replacement is a new inode.
type fileStamp struct {
	ino  uint64
	size int64
	mod  time.Time
}

func (s *Store) indexPath() string { return filepath.Join(s.dir, "index.json") }

// read returns the index as it is on disk now, from memory when the file is still the one read last.
func (s *Store) read() (*index, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	stamp, err := stampOf(s.indexPath())
	if errors.Is(err, os.ErrNotExist) {
		return &index{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read image index: %w", err)
	}
	if s.cached != nil && stamp == s.stamp {
		return s.cached, nil
	}
	raw, err := os.ReadFile(s.indexPath())
	if err != nil {
		return nil, fmt.Errorf("read image index: %w", err)
	}
	idx := &index{}
	if err := json.Unmarshal(raw, idx); err != nil {
		return nil, fmt.Errorf("read image index %s: %w; remove it to start with an empty store", s.indexPath(), err)
	}
	s.cached, s.stamp = idx, stamp
	return idx, nil
}

// update changes the index under the store's lock; change gets a copy and says whether it altered it.
func (s *Store) update(change func(*index) (bool, error)) error {
	unlock, err := lockFile(filepath.Join(s.dir, "lock"), unix.LOCK_EX)
	if err != nil {
		return fmt.Errorf("lock image index: %w", err)
	}
	defer unlock()
	old, err := s.read()
	if err != nil {
		return err
	}
	next := &index{Images: slices.Clone(old.Images)}
	changed, err := change(next)
	if err != nil || !changed {
		return err
	}
	raw, err := json.Marshal(next)
	if err != nil {
		return fmt.Errorf("encode image index: %w", err)
	}
	return writeAtomically(s.indexPath(), raw)
}

// put adds img, or merges its names into the record that has the same id, and takes the names away from other images.
func (x *index) put(img Image) {
	for i := range x.Images {
		if x.Images[i].ID == img.ID {
			img.Names = union(x.Images[i].Names, img.Names)
			img.Digests = union(x.Images[i].Digests, img.Digests)
			x.Images[i] = img
			x.strip(img.Names, i)
			return
		}
	}
	x.Images = append(x.Images, img)
	x.strip(img.Names, len(x.Images)-1)
}

// strip removes names from all images but the one at keep: a tag names one image at a time.
func (x *index) strip(names []string, keep int) {
	for i := range x.Images {
		if i != keep {
			x.Images[i].Names = without(x.Images[i].Names, names)
		}
	}
}

// find returns the position of the image that ref names, or -1.
func (x *index) find(ref string) int {
	if i := slices.IndexFunc(x.Images, func(m Image) bool { return m.ID == ref || hexOf(m.ID) == ref }); i >= 0 {
		return i
	}
	if norm, err := Normalize(ref); err == nil {
		has := func(m Image) bool { return slices.Contains(m.Names, norm) || slices.Contains(m.Digests, norm) }
		if i := slices.IndexFunc(x.Images, has); i >= 0 {
			return i
		}
	}
	return x.findPrefix(strings.TrimPrefix(ref, "sha256:"))
}

// findPrefix finds the only image whose id starts with prefix; short prefixes are refused, they would match names.
func (x *index) findPrefix(prefix string) int {
	if len(prefix) < 6 || strings.Trim(prefix, "0123456789abcdef") != "" {
		return -1
	}
	found := -1
	for i, m := range x.Images {
		if strings.HasPrefix(hexOf(m.ID), prefix) {
			if found >= 0 {
				return -1
			}
			found = i
		}
	}
	return found
}

func union(a, b []string) []string {
	out := slices.Clone(a)
	for _, s := range b {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

func without(a, drop []string) []string {
	var out []string
	for _, s := range a {
		if !slices.Contains(drop, s) {
			out = append(out, s)
		}
	}
	return out
}

func hexOf(digest string) string { return strings.TrimPrefix(digest, "sha256:") }
