// SPDX-License-Identifier: Apache-2.0

package images

import (
	"archive/tar"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// xattrPrefix is how PAX records carry extended attributes.
const xattrPrefix = "SCHILY.xattr."

// finish gives a new file its owner, mode, extended attributes and times. Hard links share those of their target.
func (u *unpacker) finish(path string, hdr *tar.Header) error {
	if hdr.Typeflag == tar.TypeLink || hdr.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	if err := os.Lchown(path, hdr.Uid, hdr.Gid); err != nil {
		return fmt.Errorf("set owner: %w", err)
	}
	if hdr.Typeflag != tar.TypeSymlink {
		// After the owner: changing that clears the set-user-id bit.
		if err := unix.Chmod(path, uint32(hdr.Mode)&0o7777); err != nil {
			return fmt.Errorf("set mode: %w", err)
		}
	}
	if err := setXattrs(path, hdr); err != nil {
		return err
	}
	if hdr.Typeflag == tar.TypeDir {
		return nil
	}
	return setTimes(path, hdr)
}

// setXattrs sets the attributes that matter inside a container (security.capability, user.*). trusted.* is ours: a layer
// must not be able to write overlayfs' own marks.
func setXattrs(path string, hdr *tar.Header) error {
	for key, value := range hdr.PAXRecords {
		attr, ok := strings.CutPrefix(key, xattrPrefix)
		if !ok || strings.HasPrefix(attr, "trusted.") {
			continue
		}
		err := unix.Lsetxattr(path, attr, []byte(value), 0)
		if errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.EPERM) {
			continue
		}
		if err != nil {
			return fmt.Errorf("set attribute %s: %w", attr, err)
		}
	}
	return nil
}

func setTimes(path string, hdr *tar.Header) error {
	mod := hdr.ModTime
	if mod.Before(time.Unix(0, 0)) {
		mod = time.Unix(0, 0)
	}
	access := hdr.AccessTime
	if access.IsZero() {
		access = mod
	}
	ts := []unix.Timespec{unix.NsecToTimespec(access.UnixNano()), unix.NsecToTimespec(mod.UnixNano())}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, path, ts, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("set times of %s: %w", path, err)
	}
	return nil
}
