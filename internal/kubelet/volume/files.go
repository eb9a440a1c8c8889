// SPDX-License-Identifier: Apache-2.0

package volume

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"eastwest/internal/kubelet/environment"
)

const defaultMode = int32(0o644)

// file is one file of a volume.
type file struct {
	data []byte
	mode os.FileMode
	user *int64
}

// files makes the volumes whose content comes from the API.
func (m *Manager) files(ctx context.Context, pod *corev1.Pod, v *corev1.Volume) error {
	payload, err := m.payload(ctx, pod, v)
	if err != nil {
		return err
	}
	dir := m.Path(pod, v)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the directory: %w", err)
	}
	if v.Secret != nil || v.Projected != nil { // never on disk
		if err := mountMemory(dir, "mode=0755"); err != nil {
			return err
		}
	}
	return replace(dir, payload, fsGroup(pod))
}

func (m *Manager) payload(ctx context.Context, pod *corev1.Pod, v *corev1.Volume) (map[string]file, error) {
	switch {
	case v.ConfigMap != nil:
		s := v.ConfigMap
		return m.configMap(ctx, pod, s.Name, s.Items, modeOf(s.DefaultMode), s.Optional)
	case v.Secret != nil:
		s := v.Secret
		return m.secret(ctx, pod, s.SecretName, s.Items, modeOf(s.DefaultMode), s.Optional)
	case v.DownwardAPI != nil:
		return m.downward(pod, v.DownwardAPI.Items, modeOf(v.DownwardAPI.DefaultMode))
	}
	return m.projected(ctx, pod, v)
}

func modeOf(mode *int32) int32 {
	if mode == nil {
		return defaultMode
	}
	return *mode
}

func (m *Manager) configMap(ctx context.Context, pod *corev1.Pod, name string, items []corev1.KeyToPath, mode int32, optional *bool) (map[string]file, error) {
	object, err := m.config.Objects.ConfigMap(ctx, string(pod.UID), pod.Namespace, name)
	if err != nil {
		if may(optional) && apierrors.IsNotFound(err) {
			return nil, nil
		}
		return nil, err
	}
	data := map[string][]byte{}
	for key, text := range object.Data {
		data[key] = []byte(text)
	}
	maps.Copy(data, object.BinaryData)
	return choose("configmap", pod.Namespace, name, data, items, mode, may(optional))
}

func (m *Manager) secret(ctx context.Context, pod *corev1.Pod, name string, items []corev1.KeyToPath, mode int32, optional *bool) (map[string]file, error) {
	object, err := m.config.Objects.Secret(ctx, string(pod.UID), pod.Namespace, name)
	if err != nil {
		if may(optional) && apierrors.IsNotFound(err) {
			return nil, nil
		}
		return nil, err
	}
	return choose("secret", pod.Namespace, name, object.Data, items, mode, may(optional))
}

func may(optional *bool) bool { return optional != nil && *optional }

// choose takes all keys, or the items that are asked for at their paths and with their modes.
func choose(kind, namespace, name string, data map[string][]byte, items []corev1.KeyToPath, mode int32, optional bool) (map[string]file, error) {
	out := map[string]file{}
	if len(items) == 0 {
		for key, content := range data {
			out[key] = file{data: content, mode: os.FileMode(mode)}
		}
		return out, nil
	}
	for _, item := range items {
		content, ok := data[item.Key]
		if !ok {
			if optional {
				continue
			}
			return nil, fmt.Errorf("references non-existent %s key: %s (in %s/%s)", kind, item.Key, namespace, name)
		}
		m := mode
		if item.Mode != nil {
			m = *item.Mode
		}
		out[path.Clean(item.Path)] = file{data: content, mode: os.FileMode(m)}
	}
	return out, nil
}

func (m *Manager) downward(pod *corev1.Pod, items []corev1.DownwardAPIVolumeFile, mode int32) (map[string]file, error) {
	facts := m.config.Facts(pod)
	out := map[string]file{}
	for _, item := range items {
		var text string
		var err error
		switch {
		case item.FieldRef != nil:
			text, err = environment.Field(pod, item.FieldRef.FieldPath, facts)
		case item.ResourceFieldRef != nil:
			text, err = environment.Resource(pod, &corev1.Container{}, item.ResourceFieldRef, facts.Allocatable)
		}
		if err != nil {
			return nil, fmt.Errorf("write %s: %w", item.Path, err)
		}
		fileMode := mode
		if item.Mode != nil {
			fileMode = *item.Mode
		}
		out[path.Clean(item.Path)] = file{data: []byte(text), mode: os.FileMode(fileMode)}
	}
	return out, nil
}

// checked refuses paths that would leave the volume; the API's validation does so too.
func checked(payload map[string]file) error {
	for _, name := range slices.Sorted(maps.Keys(payload)) {
		first, _, _ := strings.Cut(name, "/")
		if name == "" || path.IsAbs(name) || strings.HasPrefix(first, "..") || path.Clean(name) != name {
			return fmt.Errorf("file path %q is not a plain relative path below the volume", name)
		}
	}
	return nil
}
