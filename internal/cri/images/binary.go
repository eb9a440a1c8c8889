// SPDX-License-Identifier: Apache-2.0

package images

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// AddBinary makes an image of one layer that holds nothing but a static program, under its file's name in the root
// folder, and names it. Config says how to run it; without an entrypoint it is the program. Nothing is written when the
// store has the name with the same program and configuration already.
func (s *Store) AddBinary(ctx context.Context, name, file string, config v1.Config) error {
	full, err := Normalize(name)
	if err != nil {
		return err
	}
	release, err := s.hold()
	if err != nil {
		return err
	}
	defer release()
	base := filepath.Base(file)
	if len(config.Entrypoint) == 0 {
		config.Entrypoint = []string{"/" + base}
	}
	layer, size, err := s.addProgram(ctx, file, base)
	if err != nil {
		return fmt.Errorf("make image %s of %s: %w", full, file, err)
	}
	blob, err := json.Marshal(v1.ConfigFile{
		Architecture: platform().Architecture, OS: "linux", Config: config,
		RootFS: v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{{Algorithm: "sha256", Hex: layer}}},
	})
	if err != nil {
		return fmt.Errorf("encode configuration of image %s: %w", full, err)
	}
	sum := sha256.Sum256(blob)
	record := Image{
		ID: "sha256:" + hex.EncodeToString(sum[:]), Names: []string{full},
		Layers: []string{layer}, Size: size, Config: config,
	}
	if have, err := s.Get(full); err == nil && have.ID == record.ID && slices.Contains(have.Names, full) {
		return nil
	}
	if err := writeAtomically(filepath.Join(s.blobsDir(), hexOf(record.ID)), blob); err != nil {
		return err
	}
	return s.update(func(x *index) (bool, error) { x.put(record); return true, nil })
}

// addProgram makes the layer of one executable file and returns its diff id: the digest of the tar file that would hold
// exactly this entry. That tar file is never written.
func (s *Store) addProgram(ctx context.Context, file, base string) (id string, size int64, err error) {
	f, err := os.Open(file)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", 0, err
	}
	hdr := programHeader(base, info.Size())
	id, err = programDigest(&contextReader{ctx: ctx, r: f}, hdr)
	if err != nil {
		return "", 0, err
	}
	if have, err := s.layerInfo(id); err == nil {
		return id, have.Size, nil
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return "", 0, err
	}
	size, err = s.addLayer(id, func(dir string) (layerInfo, error) {
		u := &unpacker{root: dir, info: layerInfo{Inodes: 1}}
		err := u.entry(hdr, io.LimitReader(f, hdr.Size))
		return u.info, err
	})
	return id, size, err
}

func programHeader(base string, size int64) *tar.Header {
	return &tar.Header{Name: base, Typeflag: tar.TypeReg, Mode: 0o755, Size: size, Format: tar.FormatUSTAR}
}

func programDigest(content io.Reader, hdr *tar.Header) (string, error) {
	sum := sha256.New()
	var head bytes.Buffer
	archive := tar.NewWriter(&head)
	if err := archive.WriteHeader(hdr); err != nil {
		return "", err
	}
	sum.Write(head.Bytes())
	n, err := io.Copy(sum, content)
	if err != nil {
		return "", err
	}
	if n != hdr.Size {
		return "", fmt.Errorf("the file changed while it was read")
	}
	pad := (512 - n%512) % 512
	sum.Write(make([]byte, pad+1024))
	return hex.EncodeToString(sum.Sum(nil)), nil
}
