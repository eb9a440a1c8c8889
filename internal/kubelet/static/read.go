// SPDX-License-Identifier: Apache-2.0

// Package static runs the pods of a folder of manifests: pods of this node alone, which need no API server. What it reads it hands to the pods'
// workers; the API has a mirror of each, which shows the pod's status and changes nothing.
package static

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
)

// Annotations of static pods and their mirrors.
const (
	sourceAnnotation = "kubernetes.io/config.source"
	hashAnnotation   = "kubernetes.io/config.hash"
	fromFile         = "file"
)

// IsMirror reports whether an object of the API only shows a static pod.
func IsMirror(pod *corev1.Pod) bool {
	_, is := pod.Annotations[corev1.MirrorPodAnnotationKey]
	return is
}

// read returns the pods of a folder, by file. What is no pod's manifest is an error that keeps nothing else from being read; a file of which
// last had a pod may be half written, and keeps it. A folder that is not there has no pods.
func read(dir, node string, scheme *runtime.Scheme, last map[string]*corev1.Pod) (map[string]*corev1.Pod, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("read the manifests of static pods: %w", err)
	}
	pods, names := map[string]*corev1.Pod{}, map[string]string{}
	var errs []error
	decoder := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") || e.IsDir() {
			continue
		}
		pod, err := manifest(filepath.Join(dir, e.Name()), node, decoder)
		if err != nil {
			errs = append(errs, fmt.Errorf("manifest %s: %w", filepath.Join(dir, e.Name()), err))
			if pod = last[e.Name()]; pod == nil {
				continue
			}
		}
		if other := names[fullName(pod)]; other != "" {
			errs = append(errs, fmt.Errorf("manifest %s: pod %s is in %s already", filepath.Join(dir, e.Name()), fullName(pod), other))
			continue
		}
		pods[e.Name()], names[fullName(pod)] = pod, e.Name()
	}
	return pods, errors.Join(errs...)
}

func fullName(pod *corev1.Pod) string { return pod.Namespace + "/" + pod.Name }

func manifest(file, node string, decoder runtime.Decoder) (*corev1.Pod, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	object, _, err := decoder.Decode(data, nil, nil)
	if err != nil {
		return nil, err
	}
	pod, ok := object.(*corev1.Pod)
	if !ok {
		return nil, fmt.Errorf("expected a Pod, not a %T", object)
	}
	if err := check(pod); err != nil {
		return nil, err
	}
	identify(pod, node, data)
	complete(pod)
	return pod, nil
}

// identify makes the pod one of this node. Its UID stands for what the file says, so that the next agent knows the pod again, and a changed one
// is another.
func identify(pod *corev1.Pod, node string, data []byte) {
	sum := sha256.Sum256(append([]byte(node+"\x00"), data...))
	uid := hex.EncodeToString(sum[:16])
	pod.UID, pod.Name, pod.Generation = types.UID(uid), pod.Name+"-"+node, 1
	if pod.Namespace == "" {
		pod.Namespace = metav1.NamespaceDefault
	}
	if pod.Annotations == nil {
		pod.Annotations = map[string]string{}
	}
	pod.Annotations[sourceAnnotation], pod.Annotations[hashAnnotation] = fromFile, uid
	pod.Spec.NodeName = node
	pod.Spec.Tolerations = append(pod.Spec.Tolerations, corev1.Toleration{Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute})
	pod.Status = corev1.PodStatus{Phase: corev1.PodPending}
}

// check refuses what could not run, or would need the API, which static pods do without.
func check(pod *corev1.Pod) error {
	if problems := validation.IsDNS1123Subdomain(pod.Name); len(problems) > 0 {
		return fmt.Errorf("name %q: %s", pod.Name, problems[0])
	}
	if len(pod.Spec.Containers) == 0 {
		return errors.New("the pod has no containers")
	}
	if len(pod.Spec.EphemeralContainers) > 0 {
		return errors.New("a static pod has no ephemeral containers")
	}
	seen := map[string]bool{}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			c := &list[i]
			if problems := validation.IsDNS1123Label(c.Name); len(problems) > 0 || seen[c.Name] || c.Image == "" {
				return fmt.Errorf("container %q: expected a name of its own and an image", c.Name)
			}
			seen[c.Name] = true
		}
	}
	if what := reference(&pod.Spec); what != "" {
		return fmt.Errorf("a static pod may not refer to objects of the API: %s", what)
	}
	return nil
}

// reference names what of a pod refers to an object of the API.
func reference(spec *corev1.PodSpec) string {
	if spec.ServiceAccountName != "" {
		return "serviceAccountName"
	}
	if len(spec.ImagePullSecrets) > 0 {
		return "imagePullSecrets"
	}
	if len(spec.ResourceClaims) > 0 {
		return "resourceClaims"
	}
	for i := range spec.Volumes {
		v := &spec.Volumes[i]
		if v.ConfigMap != nil || v.Secret != nil || v.Projected != nil || v.PersistentVolumeClaim != nil || v.Ephemeral != nil {
			return "volume " + v.Name
		}
	}
	for _, list := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for i := range list {
			for _, from := range list[i].EnvFrom {
				if from.ConfigMapRef != nil || from.SecretRef != nil {
					return "envFrom of container " + list[i].Name
				}
			}
			for _, e := range list[i].Env {
				if e.ValueFrom != nil && (e.ValueFrom.ConfigMapKeyRef != nil || e.ValueFrom.SecretKeyRef != nil) {
					return "variable " + e.Name + " of container " + list[i].Name
				}
			}
		}
	}
	return ""
}
