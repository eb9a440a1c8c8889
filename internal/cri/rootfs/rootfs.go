// SPDX-License-Identifier: Apache-2.0

// Package rootfs mounts a container's root file system and reads what it says about users.
package rootfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Mount mounts an overlay of the layer folders lower (the uppermost first) at target, with the writable layer and
// overlayfs' work folder below dir. Folders are made when missing. A target that is mounted already is left as it is.
func Mount(target string, lower []string, dir string) error {
	upper, work := filepath.Join(dir, "upper"), filepath.Join(dir, "work")
	for _, d := range []string{target, upper, work} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return fmt.Errorf("mount root file system: %w", err)
		}
	}
	if mounted, err := isMountPoint(target); err != nil || mounted {
		return err
	}
	if len(lower) == 0 {
		return bind(upper, target)
	}
	return overlay(target, lower, upper, work)
}

// overlay mounts layer by layer ("lowerdir+", Linux 6.8): one string of options has room for few layers with long names. Older
// kernels, which say so as late as in the end, get them in one string, which may be a page long.
func overlay(target string, lower []string, upper, work string) error {
	err := stacked(target, lower, upper, work)
	if errors.Is(err, unix.EINVAL) {
		options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s,volatile", strings.Join(lower, ":"), upper, work)
		err = unix.Mount("overlay", target, "overlay", 0, options)
	}
	if err != nil {
		return fmt.Errorf("mount overlay of %d layers at %s: %w", len(lower), target, err)
	}
	return nil
}

func stacked(target string, lower []string, upper, work string) error {
	fs, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return fmt.Errorf("open overlay file system: %w (the kernel needs overlayfs)", err)
	}
	defer unix.Close(fs)
	if err := configure(fs, lower, upper, work); err != nil {
		return err
	}
	mnt, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(mnt)
	return unix.MoveMount(mnt, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH)
}

func configure(fs int, lower []string, upper, work string) error {
	for _, dir := range lower {
		if err := unix.FsconfigSetString(fs, "lowerdir+", dir); err != nil {
			return fmt.Errorf("add layer %s: %w", dir, err)
		}
	}
	if err := unix.FsconfigSetString(fs, "upperdir", upper); err != nil {
		return fmt.Errorf("set writable layer %s: %w", upper, err)
	}
	if err := unix.FsconfigSetString(fs, "workdir", work); err != nil {
		return fmt.Errorf("set work folder %s: %w", work, err)
	}
	// A container's writes need not survive a crash of the machine, so its file system never waits for the disk.
	if err := unix.FsconfigSetFlag(fs, "volatile"); err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("set volatile: %w", err)
	}
	return unix.FsconfigCreate(fs)
}

// Unmount removes the mount at target and the folder; neither being there is no error.
func Unmount(target string) error {
	err := unix.Unmount(target, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unmount %s: %w", target, err)
	}
	if err := os.Remove(target); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove mount point: %w", err)
	}
	return nil
}

func bind(from, to string) error {
	if err := unix.Mount(from, to, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s to %s: %w", from, to, err)
	}
	return nil
}

func isMountPoint(path string) (bool, error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, 0, &st); err != nil {
		return false, fmt.Errorf("stat %s: %w", path, err)
	}
	return st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0, nil
}

// MakePrivate makes dir a mount point of its own whose mounts are seen by nobody else, unless it is one: what is pinned
// below it then neither propagates to, nor is held by, other mount namespaces that share the node's.
func MakePrivate(dir string) error {
	mounted, err := isMountPoint(dir)
	if err != nil {
		return err
	}
	if !mounted {
		if err := bind(dir, dir); err != nil {
			return err
		}
	}
	if err := unix.Mount("", dir, "", unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mount %s private: %w", dir, err)
	}
	return nil
}

// Tmpfs mounts a tmpfs of size bytes at target, as /dev/shm is, unless something is mounted there.
func Tmpfs(target string, size int64) error {
	if err := os.MkdirAll(target, 0o755); err != nil {
		return fmt.Errorf("make mount point: %w", err)
	}
	if mounted, err := isMountPoint(target); err != nil || mounted {
		return err
	}
	options := fmt.Sprintf("mode=1777,size=%d", size)
	if err := unix.Mount("shm", target, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, options); err != nil {
		return fmt.Errorf("mount tmpfs at %s: %w", target, err)
	}
	return nil
}
