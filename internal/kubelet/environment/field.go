// SPDX-License-Identifier: Apache-2.0

package environment

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Field returns a field of the pod, as fieldRef names it (the downward API).
func Field(pod *corev1.Pod, path string, facts Facts) (string, error) {
	if base, key, ok := subscript(path); ok {
		switch base {
		case "metadata.labels":
			return pod.Labels[key], nil
		case "metadata.annotations":
			return pod.Annotations[key], nil
		}
	}
	switch path {
	case "metadata.name":
		return pod.Name, nil
	case "metadata.namespace":
		return pod.Namespace, nil
	case "metadata.uid":
		return string(pod.UID), nil
	case "metadata.labels":
		return quoted(pod.Labels), nil
	case "metadata.annotations":
		return quoted(pod.Annotations), nil
	case "spec.nodeName":
		return facts.NodeName, nil
	case "spec.serviceAccountName":
		return pod.Spec.ServiceAccountName, nil
	case "status.hostIP":
		return first(facts.HostIPs), nil
	case "status.hostIPs":
		return strings.Join(facts.HostIPs, ","), nil
	case "status.podIP":
		return first(facts.PodIPs), nil
	case "status.podIPs":
		return strings.Join(facts.PodIPs, ","), nil
	}
	return "", fmt.Errorf("unsupported fieldPath: %v", path)
}

func first(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}

func subscript(path string) (base, key string, ok bool) {
	base, rest, ok := strings.Cut(path, "['")
	if !ok || !strings.HasSuffix(rest, "']") {
		return "", "", false
	}
	return base, strings.TrimSuffix(rest, "']"), true
}

func quoted(m map[string]string) string {
	var lines []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		lines = append(lines, fmt.Sprintf("%s=%q", k, m[k]))
	}
	return strings.Join(lines, "\n")
}

// Resource returns a request or limit of a container in units of the selector's divisor, rounded up. Limits that are not set are the whole pod's, or
// else the node's allocatable.
func Resource(pod *corev1.Pod, c *corev1.Container, ref *corev1.ResourceFieldSelector, allocatable corev1.ResourceList) (string, error) {
	if ref.ContainerName != "" && ref.ContainerName != c.Name {
		c = containerNamed(pod, ref.ContainerName)
		if c == nil {
			return "", fmt.Errorf("container %s of resourceFieldRef is not in pod %s/%s", ref.ContainerName, pod.Namespace, pod.Name)
		}
	}
	kind, name, _ := strings.Cut(ref.Resource, ".")
	resourceName := corev1.ResourceName(name)
	var quantity resource.Quantity
	switch kind {
	case "limits":
		var set bool
		if quantity, set = c.Resources.Limits[resourceName]; !set || quantity.IsZero() {
			quantity = allocatable[resourceName]
			if r := pod.Spec.Resources; r != nil && !r.Limits.Name(resourceName, resource.DecimalSI).IsZero() {
				quantity = r.Limits[resourceName]
			}
		}
	case "requests":
		quantity = c.Resources.Requests[resourceName]
	default:
		return "", fmt.Errorf("unsupported resourceFieldRef: %v", ref.Resource)
	}
	return divided(quantity, ref.Divisor, resourceName), nil
}

func divided(quantity, divisor resource.Quantity, name corev1.ResourceName) string {
	if name == corev1.ResourceCPU {
		unit := divisor.MilliValue()
		if divisor.IsZero() {
			unit = 1000
		}
		return strconv.FormatInt((quantity.MilliValue()+unit-1)/unit, 10)
	}
	unit := max(divisor.Value(), 1)
	return strconv.FormatInt((quantity.Value()+unit-1)/unit, 10)
}

func containerNamed(pod *corev1.Pod, name string) *corev1.Container {
	for _, list := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	return nil
}
