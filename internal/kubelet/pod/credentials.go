// SPDX-License-Identifier: Apache-2.0

package pod

import (
	"context"

	corev1 "k8s.io/api/core/v1"

	"eastwest/internal/kubelet/image"
)

// credentials returns those of the pod's imagePullSecrets that are for the image's registry. A secret that is absent is passed over: the
// image may be there, or public.
func (w *worker) credentials(ctx context.Context, pod *corev1.Pod, ref string) []image.Credential {
	var out []image.Credential
	for _, s := range pod.Spec.ImagePullSecrets {
		secret, err := w.m.config.Objects.Secret(ctx, string(pod.UID), pod.Namespace, s.Name)
		if err != nil {
			w.m.config.Events.Pod(pod, "", corev1.EventTypeWarning, "FailedToRetrieveImagePullSecret",
				"Unable to retrieve some image pull secrets (%s); attempting to pull the image may not succeed.", s.Name)
			continue
		}
		found, err := image.Credentials(secret, ref)
		if err != nil {
			w.log.Warn("image pull secret not usable", "secret", s.Name, "error", err)
			continue
		}
		out = append(out, found...)
	}
	return out
}
