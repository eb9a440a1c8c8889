// SPDX-License-Identifier: Apache-2.0

package volume

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"

	corev1 "k8s.io/api/core/v1"
)

// projected puts several sources into one volume.
func (m *Manager) projected(ctx context.Context, pod *corev1.Pod, v *corev1.Volume) (map[string]file, error) {
	out := map[string]file{}
	mode := modeOf(v.Projected.DefaultMode)
	var errs []error
	for i := range v.Projected.Sources {
		files, err := m.source(ctx, pod, &v.Projected.Sources[i], mode)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		maps.Copy(out, files)
	}
	return out, errors.Join(errs...)
}

func (m *Manager) source(ctx context.Context, pod *corev1.Pod, s *corev1.VolumeProjection, mode int32) (map[string]file, error) {
	switch {
	case s.ConfigMap != nil:
		return m.configMap(ctx, pod, s.ConfigMap.Name, s.ConfigMap.Items, mode, s.ConfigMap.Optional)
	case s.Secret != nil:
		return m.secret(ctx, pod, s.Secret.Name, s.Secret.Items, mode, s.Secret.Optional)
	case s.DownwardAPI != nil:
		return m.downward(pod, s.DownwardAPI.Items, mode)
	case s.ServiceAccountToken != nil:
		return m.token(ctx, pod, s.ServiceAccountToken, mode)
	case s.ClusterTrustBundle != nil:
		return nil, fmt.Errorf("clusterTrustBundle is not supported on this node: use a configMap that holds the certificates")
	}
	return nil, fmt.Errorf("a projected source of this kind is not supported on this node: use configMap, secret, downwardAPI or serviceAccountToken")
}

// token's file is readable by the pod's one user, or by its fsGroup, and by nobody else, where the pod names one of them.
func (m *Manager) token(ctx context.Context, pod *corev1.Pod, s *corev1.ServiceAccountTokenProjection, mode int32) (map[string]file, error) {
	token, err := m.config.Tokens.Get(ctx, pod, s.Audience, s.ExpirationSeconds)
	if err != nil {
		return nil, err
	}
	user := commonUser(pod)
	if user != nil || fsGroup(pod) != nil {
		mode = 0o600
	}
	return map[string]file{path.Clean(s.Path): {data: []byte(token), mode: os.FileMode(mode), user: user}}, nil
}
