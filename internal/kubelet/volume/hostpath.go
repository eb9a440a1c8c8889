// SPDX-License-Identifier: Apache-2.0

package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
)

// hostPath checks, or makes, what the pod wants to see of the node.
func hostPath(source *corev1.HostPathVolumeSource) error {
	kind := corev1.HostPathUnset
	if source.Type != nil {
		kind = *source.Type
	}
	if kind == corev1.HostPathUnset {
		return nil
	}
	info, err := os.Stat(source.Path)
	switch {
	case errors.Is(err, os.ErrNotExist) && kind == corev1.HostPathDirectoryOrCreate:
		return wrap("make the directory", os.MkdirAll(source.Path, 0o755))
	case errors.Is(err, os.ErrNotExist) && kind == corev1.HostPathFileOrCreate:
		return createFile(source.Path)
	case err != nil:
		return fmt.Errorf("hostPath type check failed: %s is not a %s: %w", source.Path, kind, err)
	}
	if !matches(info.Mode(), kind) {
		return fmt.Errorf("hostPath type check failed: %s is not a %s", source.Path, kind)
	}
	return nil
}

func matches(mode fs.FileMode, kind corev1.HostPathType) bool {
	switch kind {
	case corev1.HostPathDirectory, corev1.HostPathDirectoryOrCreate:
		return mode.IsDir()
	case corev1.HostPathFile, corev1.HostPathFileOrCreate:
		return mode.IsRegular()
	case corev1.HostPathSocket:
		return mode&fs.ModeSocket != 0
	case corev1.HostPathCharDev:
		return mode&fs.ModeCharDevice != 0
	case corev1.HostPathBlockDev:
		return mode&fs.ModeDevice != 0 && mode&fs.ModeCharDevice == 0
	}
	return false
}

// createFile does not make the directory above, as the API documents.
func createFile(path string) error {
	f, err := os.OpenFile(filepath.Clean(path), os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("make the file: %w", err)
	}
	return wrap("make the file", f.Close())
}

func wrap(what string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}
