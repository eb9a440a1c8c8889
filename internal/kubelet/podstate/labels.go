// SPDX-License-Identifier: Apache-2.0

package podstate

import (
	"encoding/json"
	"hash/fnv"
	"strconv"

	corev1 "k8s.io/api/core/v1"
)

// Labels and annotations of sandboxes and containers, as every kubelet writes them, so that tools such as crictl
// and a kubelet that takes over read the same words.
const (
	LabelPodName       = "io.kubernetes.pod.name"
	LabelPodNamespace  = "io.kubernetes.pod.namespace"
	LabelPodUID        = "io.kubernetes.pod.uid"
	LabelContainerName = "io.kubernetes.container.name"

	AnnotationHash              = "io.kubernetes.container.hash"
	AnnotationRestartCount      = "io.kubernetes.container.restartCount"
	AnnotationMessagePath       = "io.kubernetes.container.terminationMessagePath"
	AnnotationMessagePolicy     = "io.kubernetes.container.terminationMessagePolicy"
	AnnotationPreStop           = "io.kubernetes.container.preStopHandler"
	AnnotationPorts             = "io.kubernetes.container.ports"
	AnnotationGracePeriod       = "io.kubernetes.pod.terminationGracePeriod"
	AnnotationDeletionPeriod    = "io.kubernetes.pod.deletionGracePeriod"
	defaultTerminationGraceSecs = 30
)

// SandboxLabels returns the labels of a pod's sandbox: the pod's own and those that identify it.
func SandboxLabels(pod *corev1.Pod) map[string]string {
	labels := make(map[string]string, len(pod.Labels)+3)
	for k, v := range pod.Labels {
		labels[k] = v
	}
	labels[LabelPodName] = pod.Name
	labels[LabelPodNamespace] = pod.Namespace
	labels[LabelPodUID] = string(pod.UID)
	return labels
}

// ContainerLabels returns the labels of a container.
func ContainerLabels(pod *corev1.Pod, container string) map[string]string {
	return map[string]string{
		LabelPodName: pod.Name, LabelPodNamespace: pod.Namespace, LabelPodUID: string(pod.UID), LabelContainerName: container,
	}
}

// ContainerAnnotations returns what a later kubelet must know to end or to restart the container without its pod's object.
func ContainerAnnotations(pod *corev1.Pod, c *corev1.Container, restarts int) map[string]string {
	a := map[string]string{
		AnnotationHash:          Hash(c),
		AnnotationRestartCount:  strconv.Itoa(restarts),
		AnnotationMessagePath:   c.TerminationMessagePath,
		AnnotationMessagePolicy: string(c.TerminationMessagePolicy),
	}
	if pod.DeletionGracePeriodSeconds != nil {
		a[AnnotationDeletionPeriod] = strconv.FormatInt(*pod.DeletionGracePeriodSeconds, 10)
	}
	if pod.Spec.TerminationGracePeriodSeconds != nil {
		a[AnnotationGracePeriod] = strconv.FormatInt(*pod.Spec.TerminationGracePeriodSeconds, 10)
	}
	if c.Lifecycle != nil && c.Lifecycle.PreStop != nil {
		putJSON(a, AnnotationPreStop, c.Lifecycle.PreStop)
	}
	if len(c.Ports) > 0 {
		putJSON(a, AnnotationPorts, c.Ports)
	}
	return a
}

// putJSON leaves the annotation out when the value cannot be written, which API types always can.
func putJSON(annotations map[string]string, key string, value any) {
	if data, err := json.Marshal(value); err == nil {
		annotations[key] = string(data)
	}
}

// Hash identifies the part of a container's spec whose change makes a running container be replaced: name and image.
func Hash(c *corev1.Container) string {
	h := fnv.New64a()
	h.Write([]byte(c.Name + "\x00" + c.Image))
	return strconv.FormatUint(h.Sum64(), 16)
}

// Orphan rebuilds the pod that a state belongs to, as far as the runtime remembers it, to end it as its owner asked: names, grace
// period and pre-stop hooks.
func (s *State) Orphan() *corev1.Pod {
	pod := &corev1.Pod{}
	pod.Name, pod.Namespace, pod.UID = s.Name, s.Namespace, UID(s.UID)
	grace := int64(defaultTerminationGraceSecs)
	for i := range s.Containers {
		c := &s.Containers[i]
		for _, key := range []string{AnnotationGracePeriod, AnnotationDeletionPeriod} {
			if v, err := strconv.ParseInt(c.Annotations[key], 10, 64); err == nil {
				grace = v
			}
		}
		if s.Latest(c.Name) == c {
			pod.Spec.Containers = append(pod.Spec.Containers, c.orphan())
		}
	}
	pod.Spec.TerminationGracePeriodSeconds = &grace
	return pod
}

func (c *Container) orphan() corev1.Container {
	spec := corev1.Container{Name: c.Name, Image: c.Image}
	var hook corev1.LifecycleHandler
	if raw := c.Annotations[AnnotationPreStop]; raw != "" && json.Unmarshal([]byte(raw), &hook) == nil {
		spec.Lifecycle = &corev1.Lifecycle{PreStop: &hook}
	}
	return spec
}
