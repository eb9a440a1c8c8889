// SPDX-License-Identifier: Apache-2.0

package images

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
)

// archiveKind says how the images of a tar file are arranged.
type archiveKind int

const (
	dockerArchive archiveKind = iota
	ociArchive
)

type readCloser = io.ReadCloser

var layoutFile = regexp.MustCompile(`^(oci-layout|index\.json|blobs/[a-z0-9]+/[a-f0-9]+)$`)

// openArchive finds out what a tar file is. An OCI layout is extracted to dir/layout; for `docker save` it returns the
// file to read, which is the archive itself, or its decompressed copy in dir.
func openArchive(ctx context.Context, archive, dir string) (archiveKind, string, error) {
	f, err := os.Open(archive)
	if err != nil {
		return 0, "", err
	}
	defer f.Close()
	buffered := bufio.NewReaderSize(&contextReader{ctx: ctx, r: f}, 1<<20)
	path := archive
	if magic, _ := buffered.Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		path = filepath.Join(dir, "archive.tar")
		if err := gunzip(buffered, path); err != nil {
			return 0, "", err
		}
	}
	docker, oci, err := listArchive(path)
	switch {
	case err != nil:
		return 0, "", err
	case docker:
		return dockerArchive, path, nil
	case oci:
		return ociArchive, path, extractLayout(ctx, path, filepath.Join(dir, "layout"))
	}
	return 0, "", errors.New("neither manifest.json nor index.json in it: not an image archive as `docker save` or an OCI tool writes it")
}

func gunzip(r io.Reader, to string) error {
	z, err := gzip.NewReader(r)
	if err != nil {
		return fmt.Errorf("decompress: %w", err)
	}
	return writeFile(to, z)
}

// listArchive looks for the two files that tell the formats apart; an archive may have both.
func listArchive(path string) (docker, oci bool, err error) {
	f, err := os.Open(path)
	if err != nil {
		return false, false, err
	}
	defer f.Close()
	archive := tar.NewReader(f)
	for {
		hdr, err := archive.Next()
		if err == io.EOF {
			return docker, oci, nil
		}
		if err != nil {
			return false, false, fmt.Errorf("read tar file: %w", err)
		}
		switch filepath.Clean(hdr.Name) {
		case "manifest.json":
			docker = true
		case "index.json":
			oci = true
		}
	}
}

// extractLayout copies the files that an OCI layout is made of, and nothing else.
func extractLayout(ctx context.Context, path, dir string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	archive := tar.NewReader(bufio.NewReaderSize(&contextReader{ctx: ctx, r: f}, 1<<20))
	for {
		hdr, err := archive.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read tar file: %w", err)
		}
		name := filepath.Clean(hdr.Name)
		if hdr.Typeflag != tar.TypeReg || !layoutFile.MatchString(name) {
			continue
		}
		to := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			return err
		}
		if err := writeFile(to, archive); err != nil {
			return err
		}
	}
}

func writeFile(path string, r io.Reader) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}
