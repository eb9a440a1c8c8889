// SPDX-License-Identifier: Apache-2.0

package cri

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"eastwest/internal/cri/ocispec"
)

// devices lists the device nodes that a container gets beyond the usual ones: all of the node when it is privileged.
func devices(cfg *runtimeapi.ContainerConfig, privileged bool) ([]ocispec.Device, error) {
	var out []ocispec.Device
	if privileged {
		all, err := devicesBelow("/dev", "/dev", "rwm")
		if err != nil {
			return nil, err
		}
		out = all
	}
	for _, d := range cfg.GetDevices() {
		host, err := filepath.EvalSymlinks(d.GetHostPath())
		if err != nil {
			return nil, fmt.Errorf("device %s: %w", d.GetHostPath(), err)
		}
		if strings.Trim(d.GetPermissions(), "rwm") != "" {
			return nil, fmt.Errorf("device %s: permissions %q are not of r, w and m", d.GetHostPath(), d.GetPermissions())
		}
		found, err := devicesBelow(host, d.GetContainerPath(), d.GetPermissions())
		if err != nil {
			return nil, err
		}
		if len(found) == 0 {
			return nil, fmt.Errorf("device %s: not a device", d.GetHostPath())
		}
		out = append(out, found...)
	}
	return out, nil
}

// devicesBelow lists the device at host, or all devices in that folder. What containers have of their own in /dev is left out.
func devicesBelow(host, to, permissions string) ([]ocispec.Device, error) {
	var out []ocispec.Device
	err := filepath.WalkDir(host, func(path string, e fs.DirEntry, err error) error {
		if os.IsNotExist(err) {
			return nil
		}
		if err != nil {
			return err
		}
		if e.IsDir() && host == "/dev" {
			switch path {
			case "/dev/pts", "/dev/shm", "/dev/mqueue", "/dev/fd", "/dev/.lxc":
				return filepath.SkipDir
			}
		}
		if e.Type()&fs.ModeDevice == 0 || path == "/dev/console" {
			return nil
		}
		d, err := deviceAt(path, filepath.Join(to, strings.TrimPrefix(path, host)), permissions)
		if err == nil {
			out = append(out, d)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list devices: %w", err)
	}
	return out, nil
}

func deviceAt(host, path, permissions string) (ocispec.Device, error) {
	info, err := os.Stat(host)
	if err != nil {
		return ocispec.Device{}, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ocispec.Device{}, fmt.Errorf("stat %s: unexpected result", host)
	}
	kind := "b"
	if info.Mode()&os.ModeCharDevice != 0 {
		kind = "c"
	}
	return ocispec.Device{
		Path: path, Type: kind, Major: int64(unix.Major(st.Rdev)), Minor: int64(unix.Minor(st.Rdev)),
		Mode: info.Mode().Perm(), UID: st.Uid, GID: st.Gid, Permissions: permissions,
	}, nil
}
