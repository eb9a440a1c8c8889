// SPDX-License-Identifier: Apache-2.0

// Package images keeps container images on disk: unpacked layers that overlayfs mounts, and an index of names.
//
// Data flow: an archive, a registry or a program file becomes a v1.Image of go-containerregistry; its layers are
// unpacked once each, named by the digest of their content (diff id), and a record naming them is added to index.json.
// Several processes may use one store at once: the index is replaced atomically under a file lock, and every reader
// notices that it was.
package images

import (
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// ErrNotFound says that no image of the store has the name or id asked for.
var ErrNotFound = errors.New("image not found")

// Store is the image store below one folder. Its methods may be called from many goroutines, and several Stores, in one
// process or in many, may share a folder.
type Store struct {
	// Mirrors may be set before the first use.
	Mirrors Mirrors
	// OnProgress, set before the first use, is told now and then how far a pull is that takes long.
	OnProgress func(Progress)

	dir   string
	roots *x509.CertPool // whom registries' certificates must be of; nil for the system's

	stall    time.Duration // how long a registry may send nothing in the middle of an answer
	progress time.Duration // how often OnProgress is told

	mu     sync.Mutex
	cached *index
	stamp  fileStamp
}

// Image is one image of the store. Values are copies; changing them changes nothing.
type Image struct {
	// ID is the digest of the image's configuration, "sha256:<hex>".
	ID string `json:"id"`
	// Names are the tagged references, normalised: "docker.io/library/nginx:latest".
	Names []string `json:"names,omitempty"`
	// Digests are the references by manifest digest: "docker.io/library/nginx@sha256:<hex>".
	Digests []string `json:"digests,omitempty"`
	// Layers are the hex diff ids, the lowest layer first.
	Layers []string `json:"layers"`
	// Size is the sum of the unpacked layers in bytes.
	Size int64 `json:"size"`
	// Config is what the image says about running it.
	Config v1.Config `json:"config"`
}

// Open opens the image store that belongs to the CRI server with persistent state in root, and makes it when missing.
// It holds no resource: there is nothing to close.
func Open(root string) (*Store, error) {
	s := &Store{dir: filepath.Join(root, "images"), stall: stallTimeout, progress: progressPeriod}
	for _, d := range []string{s.dir, s.layersDir(), s.pinsDir(), s.blobsDir()} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, fmt.Errorf("open image store: %w", err)
		}
	}
	return s, nil
}

// Dir is the folder that holds the store; the file system it is on is the one to watch for space.
func (s *Store) Dir() string { return s.dir }

// List returns every image, in the order in which they were added.
func (s *Store) List() ([]Image, error) {
	idx, err := s.read()
	if err != nil {
		return nil, err
	}
	return append([]Image(nil), idx.Images...), nil
}

// Get finds an image by name (any form that people write), by digest reference, or by id, with or without "sha256:",
// whole or the first characters of it when no other image has them. It returns ErrNotFound when there is none.
func (s *Store) Get(ref string) (Image, error) {
	idx, err := s.read()
	if err != nil {
		return Image{}, err
	}
	if i := idx.find(ref); i >= 0 {
		return idx.Images[i], nil
	}
	return Image{}, fmt.Errorf("%w: %q", ErrNotFound, ref)
}

// LayerDirs returns the folders to mount for an image, the uppermost layer first, as overlayfs wants them.
func (s *Store) LayerDirs(img Image) []string {
	dirs := make([]string, 0, len(img.Layers))
	for i := len(img.Layers) - 1; i >= 0; i-- {
		dirs = append(dirs, filepath.Join(s.layersDir(), img.Layers[i], "diff"))
	}
	return dirs
}

// ConfigBlob returns the image's configuration exactly as it was received.
func (s *Store) ConfigBlob(img Image) ([]byte, error) {
	b, err := os.ReadFile(filepath.Join(s.blobsDir(), hexOf(img.ID)))
	if err != nil {
		return nil, fmt.Errorf("read configuration of image %s: %w", img.ID, err)
	}
	return b, nil
}

func (s *Store) layersDir() string { return filepath.Join(s.dir, "layers") }
func (s *Store) pinsDir() string   { return filepath.Join(s.dir, "pins") }
func (s *Store) blobsDir() string  { return filepath.Join(s.dir, "configs") }

func platform() *v1.Platform { return &v1.Platform{OS: "linux", Architecture: runtime.GOARCH} }
