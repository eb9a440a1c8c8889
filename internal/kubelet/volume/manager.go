// SPDX-License-Identifier: Apache-2.0

// Package volume makes a pod's volumes on the node and keeps them up to date: directories, memory file systems, and files
// written from API objects, replaced atomically. What a container mounts of them is worked out here as well.
//
//	pod.spec.volumes → Setup → <root>/pods/<uid>/volumes/<kind>/<name> → Mounts → CRI mounts
package volume

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"

	"eastwest/internal/kubelet/environment"
)

// Objects answers the API objects that a pod's volumes show. Absent ones are errors that apierrors.IsNotFound knows.
type Objects interface {
	ConfigMap(ctx context.Context, uid, namespace, name string) (*corev1.ConfigMap, error)
	Secret(ctx context.Context, uid, namespace, name string) (*corev1.Secret, error)
}

// Config says where volumes are and what they are made from.
type Config struct {
	RootDir string // pods/<uid>/… is below it
	Objects Objects
	Tokens  *Tokens
	Facts   func(pod *corev1.Pod) environment.Facts // for the downward API
}

// Manager makes volumes. Safe for concurrent use by different pods.
type Manager struct {
	config Config
	root   string
}

// New makes a manager.
func New(config Config) *Manager {
	return &Manager{config: config, root: filepath.Join(config.RootDir, "pods")}
}

// Failure is one volume that could not be made.
type Failure struct {
	Volume string
	Err    error
}

// Error names the volume.
func (f *Failure) Error() string {
	return fmt.Sprintf("MountVolume.SetUp failed for volume %q : %v", f.Volume, f.Err)
}

// Unwrap returns the reason.
func (f *Failure) Unwrap() error { return f.Err }

// PodDir is the directory of everything that belongs to a pod.
func (m *Manager) PodDir(uid string) string { return filepath.Join(m.root, uid) }

// Setup makes the pod's volumes, or brings those that are there up to date. Failures of several volumes are joined, each a *Failure.
func (m *Manager) Setup(ctx context.Context, pod *corev1.Pod) error {
	if err := os.MkdirAll(m.PodDir(string(pod.UID)), 0o750); err != nil {
		return fmt.Errorf("make the directory of pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	var errs []error
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if err := m.setup(ctx, pod, v); err != nil {
			errs = append(errs, &Failure{v.Name, err})
		}
	}
	return errors.Join(errs...)
}

func (m *Manager) setup(ctx context.Context, pod *corev1.Pod, v *corev1.Volume) error {
	switch {
	case v.EmptyDir != nil:
		return m.emptyDir(pod, v)
	case v.HostPath != nil:
		return hostPath(v.HostPath)
	case v.Image != nil:
		return nil // pulled with the images of the containers that mount it
	case v.ConfigMap != nil, v.Secret != nil, v.DownwardAPI != nil, v.Projected != nil:
		return m.files(ctx, pod, v)
	}
	return fmt.Errorf("volumes of this kind are not supported on this node: use emptyDir, hostPath, configMap, secret, downwardAPI, projected or image")
}

// Path returns where the volume is on the node.
func (m *Manager) Path(pod *corev1.Pod, v *corev1.Volume) string {
	kind := "unknown"
	switch {
	case v.HostPath != nil:
		return v.HostPath.Path
	case v.EmptyDir != nil:
		kind = "empty-dir"
	case v.ConfigMap != nil:
		kind = "configmap"
	case v.Secret != nil:
		kind = "secret"
	case v.DownwardAPI != nil:
		kind = "downward-api"
	case v.Projected != nil:
		kind = "projected"
	}
	return filepath.Join(m.PodDir(string(pod.UID)), "volumes", "kubernetes.io~"+kind, v.Name)
}

// RefreshAt returns when Setup should be called again though no object changed: when a token is to be renewed. Zero means never.
func (m *Manager) RefreshAt(pod *corev1.Pod) time.Time { return m.config.Tokens.renewal(pod.UID) }

// Teardown removes everything of the pod from the node: mounts first, then files. Nothing there is no error.
func (m *Manager) Teardown(uid string) error {
	m.config.Tokens.forget(uid)
	dir := m.PodDir(uid)
	if err := unmountBelow(dir); err != nil {
		return fmt.Errorf("unmount the volumes of pod %s: %w", uid, err)
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove the volumes of pod %s: %w", uid, err)
	}
	return nil
}

// Leftovers lists the UIDs of pods that have directories here.
func (m *Manager) Leftovers() ([]string, error) {
	entries, err := os.ReadDir(m.root)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list pod directories: %w", err)
	}
	var uids []string
	for _, e := range entries {
		uids = append(uids, e.Name())
	}
	return uids, nil
}
