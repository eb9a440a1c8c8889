// SPDX-License-Identifier: Apache-2.0

package images

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	securejoin "github.com/cyphar/filepath-securejoin"
	"golang.org/x/sys/unix"
)

// Whiteout names of the OCI image specification, "Layer": a file of a lower layer is deleted, and a folder's lower
// content is hidden altogether.
const (
	whiteoutPrefix = ".wh."
	whiteoutOpaque = ".wh..wh..opq"
)

// maxEntries bounds the number of files of one layer.
const maxEntries = 4 << 20

// unpacker writes the entries of one layer below root. Names are resolved as if root were the root folder, so that no
// entry, and no link made by an earlier one, reaches anything outside.
type unpacker struct {
	root  string
	info  layerInfo
	times []dirTime
}

// dirTime is a folder's modification time, set last because filling the folder changes it.
type dirTime struct {
	path string
	hdr  *tar.Header
}

// unpack reads a layer's tar stream to its end into root.
func unpack(r io.Reader, root string) (layerInfo, error) {
	u := &unpacker{root: root}
	archive := tar.NewReader(r)
	for {
		hdr, err := archive.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return u.info, fmt.Errorf("read archive: %w", err)
		}
		if u.info.Inodes++; u.info.Inodes > maxEntries {
			return u.info, fmt.Errorf("archive has more than %d files", maxEntries)
		}
		if err := u.entry(hdr, archive); err != nil {
			return u.info, fmt.Errorf("file %q: %w", hdr.Name, err)
		}
	}
	// What follows the end mark is padding, but it counts for the digest.
	if _, err := io.Copy(io.Discard, r); err != nil {
		return u.info, fmt.Errorf("read archive: %w", err)
	}
	for i := len(u.times) - 1; i >= 0; i-- {
		if err := setTimes(u.times[i].path, u.times[i].hdr); err != nil {
			return u.info, err
		}
	}
	return u.info, nil
}

func (u *unpacker) entry(hdr *tar.Header, content io.Reader) error {
	for _, part := range strings.Split(hdr.Name, "/") {
		if part == ".." {
			return errors.New("path leads out of the layer")
		}
	}
	path, err := u.resolve(hdr.Name)
	if err != nil {
		return err
	}
	base := filepath.Base(path)
	switch {
	case base == whiteoutOpaque:
		return unix.Setxattr(filepath.Dir(path), "trusted.overlay.opaque", []byte("y"), 0)
	case strings.HasPrefix(base, whiteoutPrefix):
		return u.whiteout(filepath.Join(filepath.Dir(path), strings.TrimPrefix(base, whiteoutPrefix)))
	}
	if err := u.clear(path, hdr); err != nil {
		return err
	}
	if err := u.create(path, hdr, content); err != nil {
		return err
	}
	return u.finish(path, hdr)
}

// resolve maps a name to a path below root, with the folder it is in made. Links in the folder part are followed inside
// root; the last part is not followed.
func (u *unpacker) resolve(name string) (string, error) {
	clean := filepath.Join("/", name)
	if clean == "/" {
		return u.root, nil
	}
	dir, err := securejoin.SecureJoin(u.root, filepath.Dir(clean))
	if err != nil {
		return "", fmt.Errorf("resolve path: %w", err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make folder: %w", err)
	}
	return filepath.Join(dir, filepath.Base(clean)), nil
}

func (u *unpacker) whiteout(path string) error {
	if base := filepath.Base(path); base == "" || base == "." || base == ".." {
		return errors.New("whiteout names nothing")
	}
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	return unix.Mknod(path, unix.S_IFCHR, 0)
}

// clear removes what an earlier entry left under the same name; a folder that stays one is kept with its content.
func (u *unpacker) clear(path string, hdr *tar.Header) error {
	have, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if have.IsDir() && hdr.Typeflag == tar.TypeDir {
		return nil
	}
	if path == u.root {
		return errors.New("the layer's root must be a folder")
	}
	return os.RemoveAll(path)
}

func (u *unpacker) create(path string, hdr *tar.Header, content io.Reader) error {
	switch hdr.Typeflag {
	case tar.TypeDir:
		if err := os.Mkdir(path, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
		u.times = append(u.times, dirTime{path, hdr})
		return nil
	case tar.TypeReg:
		return u.file(path, content)
	case tar.TypeSymlink:
		return os.Symlink(hdr.Linkname, path)
	case tar.TypeLink:
		target, err := u.resolve(hdr.Linkname)
		if err != nil {
			return err
		}
		return os.Link(target, path)
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		return unix.Mknod(path, nodeType(hdr.Typeflag), int(unix.Mkdev(uint32(hdr.Devmajor), uint32(hdr.Devminor))))
	case tar.TypeXGlobalHeader:
		return nil
	default:
		return fmt.Errorf("archive entry of unknown type %q", hdr.Typeflag)
	}
}

func (u *unpacker) file(path string, content io.Reader) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	n, err := io.Copy(f, content)
	u.info.Size += n
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

func nodeType(flag byte) uint32 {
	switch flag {
	case tar.TypeChar:
		return unix.S_IFCHR
	case tar.TypeBlock:
		return unix.S_IFBLK
	default:
		return unix.S_IFIFO
	}
}

func isNotEmpty(err error) bool { return errors.Is(err, syscall.ENOTEMPTY) }
