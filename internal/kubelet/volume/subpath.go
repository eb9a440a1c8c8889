// SPDX-License-Identifier: Apache-2.0

package volume

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// bindPart binds part of a volume to target. os.Root keeps every step, links included, inside the volume. A missing part is made as
// a directory.
func bindPart(volume, part, target string) (err error) {
	if filepath.IsAbs(part) || !filepath.IsLocal(part) {
		return fmt.Errorf("%q leads out of the volume", part)
	}
	root, err := os.OpenRoot(volume)
	if err != nil {
		return fmt.Errorf("open the volume: %w", err)
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	_, err = root.Stat(part)
	if errors.Is(err, os.ErrNotExist) {
		err = makePart(root, part)
	}
	if err != nil {
		return fmt.Errorf("find %q in the volume: %w", part, err)
	}
	// Not O_PATH: that would open a link itself, and the mount would follow it out of the volume.
	source, err := root.OpenFile(part, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("open %q: %w", part, err)
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	info, err := source.Stat()
	if err != nil {
		return fmt.Errorf("examine %q: %w", part, err)
	}
	if there, err := os.Stat(target); err == nil {
		if os.SameFile(there, info) {
			return nil
		}
		if err := unmountBelow(target); err != nil {
			return err
		}
	}
	if err := mountPoint(target, info.IsDir()); err != nil {
		return err
	}
	from := fmt.Sprintf("/proc/self/fd/%d", source.Fd())
	return wrap("bind "+part, unix.Mount(from, target, "", unix.MS_BIND|unix.MS_REC, ""))
}

// makePart makes the directories of a part that are missing, each with the rights that the volume has: who may use the one may use
// the other.
func makePart(root *os.Root, part string) error {
	volume, err := root.Stat(".")
	if err != nil {
		return err
	}
	path := ""
	for _, step := range strings.Split(filepath.Clean(part), string(filepath.Separator)) {
		path = filepath.Join(path, step)
		err := root.Mkdir(path, 0o700)
		if errors.Is(err, os.ErrExist) {
			continue
		}
		if err == nil {
			err = root.Chmod(path, volume.Mode()&(os.ModePerm|os.ModeSetgid|os.ModeSticky))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// mountPoint makes something of the right kind to mount on.
func mountPoint(target string, dir bool) error {
	if info, err := os.Lstat(target); err == nil && info.IsDir() != dir {
		if err := os.Remove(target); err != nil {
			return fmt.Errorf("clear the mount point: %w", err)
		}
	}
	if dir {
		return wrap("make the mount point", os.MkdirAll(target, 0o750))
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o750); err != nil {
		return fmt.Errorf("make the mount point: %w", err)
	}
	f, err := os.OpenFile(target, os.O_CREATE|os.O_RDONLY, 0o640)
	if err != nil {
		return fmt.Errorf("make the mount point: %w", err)
	}
	return f.Close()
}
