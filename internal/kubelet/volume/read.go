// SPDX-License-Identifier: Apache-2.0

package volume

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// mostText bounds what is read of a file for the node's own use.
const mostText = 1 << 20

// File returns the text of a file of an emptyDir. Containers write there as they like, so no link may lead out of it, and it has to be a file.
func (m *Manager) File(pod *corev1.Pod, volume, path string) (string, error) {
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if v.Name != volume || v.EmptyDir == nil {
			continue
		}
		text, err := readWithin(m.Path(pod, v), path)
		if err != nil {
			return "", fmt.Errorf("read file %s of volume %s: %w", path, volume, err)
		}
		return text, nil
	}
	return "", fmt.Errorf("cannot find the volume %q referenced by FileKeyRef", volume)
}

func readWithin(dir, path string) (string, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", err
	}
	defer root.Close()
	f, err := root.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // a pipe must not be waited for
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() || info.Size() > mostText {
		return "", fmt.Errorf("expected a file of at most %d bytes", mostText)
	}
	text, err := io.ReadAll(io.LimitReader(f, mostText))
	return string(text), err
}
