// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"eastwest/internal/kubelet/image"
)

const private = "registry.test/team/app:1"

// secret puts a pull secret for the registry into the API.
func (w *world) secret(name, uid, password string) {
	w.api.Put("secrets", &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(uid)},
		Type: corev1.SecretTypeDockerConfigJson,
		Data: map[string][]byte{corev1.DockerConfigJsonKey: fmt.Appendf(nil, `{"auths":{"registry.test":{"username":"u","password":%q}}}`, password)}})
}

func privatePod(policy corev1.PullPolicy, secrets ...string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Containers[0].Image, p.Spec.Containers[0].ImagePullPolicy = private, policy
		for _, s := range secrets {
			p.Spec.ImagePullSecrets = append(p.Spec.ImagePullSecrets, corev1.LocalObjectReference{Name: s})
		}
	}
}

// An image that was pulled with a secret is for those that have it: a pod without pulls for itself, and is refused by the registry; it cannot even
// learn that the image is there. That holds for the next kubelet as well.
func TestPulledImageIsNotForEverybody(t *testing.T) {
	w := newWorld(t)
	w.cri.AddPrivate(private, "right")
	w.secret("mine", "1", "right")
	w.secret("wrong", "2", "wrong")
	w.secret("alike", "3", "right")
	w.start()
	w.create(newPod("first", privatePod(corev1.PullIfNotPresent, "mine")))
	w.ready("first")
	pulls := w.cri.Calls("PullImage")
	for range 2 {
		w.create(newPod("again", privatePod(corev1.PullIfNotPresent, "mine")))
		w.ready("again")
		w.create(newPod("alike", privatePod(corev1.PullNever, "wrong", "alike")))
		w.ready("alike")
		if n := w.cri.Calls("PullImage"); n != pulls {
			t.Errorf("%d pulls by pods that have the credentials", n-pulls)
		}
		w.eventually("the event says why there was no pull", func() bool {
			return slices.Contains(w.api.Events("again")["Pulled"], fmt.Sprintf("Container image %q already present on machine and can be accessed by the pod", private))
		})
		w.create(newPod("none", privatePod(corev1.PullIfNotPresent)))
		w.until("none", "refused", func(p *corev1.Pod) bool { return waitingFor(p, "ErrImagePull") })
		w.create(newPod("wrong", privatePod(corev1.PullIfNotPresent, "wrong")))
		w.until("wrong", "refused", func(p *corev1.Pod) bool { return waitingFor(p, "ErrImagePull") })
		w.create(newPod("never", privatePod(corev1.PullNever)))
		w.until("never", "refused", func(p *corev1.Pod) bool { return waitingFor(p, "ErrImageNeverPull") })
		for _, name := range []string{"again", "alike", "none", "wrong", "never"} {
			w.delete(name)
			w.gone(name)
		}
		w.restart()
		pulls = w.cri.Calls("PullImage")
	}
	// A secret that has changed is still the one that pulled; then its new credentials count.
	w.secret("mine", "1", "rotated")
	w.create(newPod("rotated", privatePod(corev1.PullNever, "mine")))
	w.ready("rotated")
}

// What was here before any kubelet pulled is for everybody, as are images that took no credentials, unless the policy says otherwise.
func TestPoliciesOfVerification(t *testing.T) {
	for _, c := range []struct {
		access image.Access
		ready  bool
	}{
		{image.Access{}, true},
		{image.Access{Policy: image.NeverVerify}, true},
		{image.Access{Policy: image.NeverVerifyAllowlistedImages, Allowlist: []string{"registry.test/team/*"}}, true},
		{image.Access{Policy: image.NeverVerifyAllowlistedImages, Allowlist: []string{"registry.test/team/app"}}, true},
		{image.Access{Policy: image.NeverVerifyAllowlistedImages, Allowlist: []string{"registry.test/other"}}, false},
		{image.Access{Policy: image.AlwaysVerify}, false},
	} {
		t.Run(fmt.Sprint(c.access), func(t *testing.T) {
			w := newWorld(t)
			w.cri.AddImage(private)
			w.config.ImageAccess = c.access
			w.start()
			w.create(newPod("web", privatePod(corev1.PullNever)))
			if c.ready {
				w.ready("web")
				return
			}
			w.until("web", "refused", func(p *corev1.Pod) bool { return waitingFor(p, "ErrImageNeverPull") })
			w.create(newPod("pulls", privatePod(corev1.PullIfNotPresent)))
			w.ready("pulls")
			w.create(newPod("after", privatePod(corev1.PullNever)))
			w.ready("after")
		})
	}
	w := newWorld(t)
	w.config.ImageAccess = image.Access{Policy: "Sometimes"}
	if _, err := New(w.config); err == nil {
		t.Error("an unknown policy is taken")
	}
}

// A kubelet that is killed in the middle of a pull leaves an image that nobody may use without credentials.
func TestKubeletKilledInAPull(t *testing.T) {
	w := newWorld(t)
	w.cri.AddPrivate(private, "right")
	w.secret("mine", "1", "right")
	p := w.startProcess()
	killed := make(chan struct{})
	w.cri.SetAfter(func(call string) {
		if call == "PullImage" {
			p.kill()
			w.cri.SetAfter(nil)
			close(killed)
		}
	})
	w.create(newPod("first", privatePod(corev1.PullIfNotPresent, "mine")))
	<-killed
	w.delete("first")
	w.startProcess()
	w.gone("first")
	for _, policy := range []corev1.PullPolicy{corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever} {
		name := "none-" + map[corev1.PullPolicy]string{corev1.PullAlways: "always", corev1.PullIfNotPresent: "absent", corev1.PullNever: "never"}[policy]
		w.create(newPod(name, privatePod(policy)))
		w.until(name, "refused", func(p *corev1.Pod) bool { return waitingFor(p, "ErrImagePull") || waitingFor(p, "ErrImageNeverPull") })
	}
	w.create(newPod("second", privatePod(corev1.PullIfNotPresent, "mine")))
	w.ready("second")
	for _, name := range []string{"none-always", "none-absent", "none-never", "second"} {
		w.delete(name)
		w.gone(name)
	}
}
