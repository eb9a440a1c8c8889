// SPDX-License-Identifier: Apache-2.0

package logs

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// How large a log may become, and how many files of it are kept, the one that is written among them (Kubernetes'
// containerLogMaxSize and containerLogMaxFiles).
const (
	MaxSize  = 10 << 20
	MaxFiles = 5
)

const packed = ".gz"

// Rotate renames a log that has become larger than size and has the runtime begin a new one by reopen. Older files are compressed, and
// the oldest removed, so that no more than files are left. A runtime that rotates by itself leaves a link, which is not touched.
func Rotate(path string, size int64, files int, now time.Time, reopen func() error) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && (!info.Mode().IsRegular() || info.Size() <= size) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at log %s: %w", path, err)
	}
	if err := settle(path, files-2); err != nil {
		return err
	}
	old := path + "." + now.UTC().Format("20060102-150405.000")
	if err := os.Rename(path, old); err != nil {
		return fmt.Errorf("rotate log %s: %w", path, err)
	}
	if err := reopen(); err != nil {
		return errors.Join(fmt.Errorf("have the runtime begin a new log %s: %w", path, err), os.Rename(old, path))
	}
	return nil
}

// settle removes the oldest of the files that were rotated, and compresses the others.
func settle(path string, keep int) error {
	old, err := filepath.Glob(path + ".*")
	if err != nil {
		return fmt.Errorf("list the old files of log %s: %w", path, err)
	}
	slices.Sort(old) // the oldest first, for their names are times
	for i, file := range old {
		if i < len(old)-keep || strings.HasSuffix(file, ".part") {
			err = errors.Join(err, os.Remove(file))
		} else if !strings.HasSuffix(file, packed) {
			err = errors.Join(err, pack(file))
		}
	}
	if err != nil {
		return fmt.Errorf("tidy up behind log %s: %w", path, err)
	}
	return nil
}

// pack replaces a file by its compressed form, whole or not at all.
func pack(file string) error {
	in, err := os.Open(file)
	if err != nil {
		return err
	}
	defer in.Close()
	part := file + ".part"
	out, err := os.OpenFile(part, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	z := gzip.NewWriter(out)
	_, err = io.Copy(z, in)
	if err = errors.Join(err, z.Close(), out.Close()); err != nil {
		return errors.Join(err, os.Remove(part))
	}
	return errors.Join(os.Rename(part, file+packed), os.Remove(file))
}
