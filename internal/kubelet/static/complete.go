// SPDX-License-Identifier: Apache-2.0

package static

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// complete sets what the API server sets in pods that it stores, as far as it matters on a node.
func complete(pod *corev1.Pod) {
	s := &pod.Spec
	standard(&s.RestartPolicy, corev1.RestartPolicyAlways)
	standard(&s.DNSPolicy, corev1.DNSClusterFirst)
	standard(&s.SchedulerName, corev1.DefaultSchedulerName)
	pointer(&s.TerminationGracePeriodSeconds, corev1.DefaultTerminationGracePeriodSeconds)
	pointer(&s.EnableServiceLinks, corev1.DefaultEnableServiceLinks)
	if s.SecurityContext == nil {
		s.SecurityContext = &corev1.PodSecurityContext{}
	}
	for _, list := range [][]corev1.Container{s.InitContainers, s.Containers} {
		for i := range list {
			completeContainer(&list[i], s.HostNetwork)
		}
	}
	for i := range s.Volumes {
		completeVolume(&s.Volumes[i])
	}
}

func completeContainer(c *corev1.Container, hostNetwork bool) {
	standard(&c.TerminationMessagePath, corev1.TerminationMessagePathDefault)
	standard(&c.TerminationMessagePolicy, corev1.TerminationMessageReadFile)
	standard(&c.ImagePullPolicy, pullPolicy(c.Image))
	for i := range c.Ports {
		standard(&c.Ports[i].Protocol, corev1.ProtocolTCP)
		if hostNetwork {
			standard(&c.Ports[i].HostPort, c.Ports[i].ContainerPort)
		}
	}
	for name, limit := range c.Resources.Limits {
		if _, asked := c.Resources.Requests[name]; !asked {
			if c.Resources.Requests == nil {
				c.Resources.Requests = corev1.ResourceList{}
			}
			c.Resources.Requests[name] = limit.DeepCopy()
		}
	}
	for _, p := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe} {
		completeProbe(p)
	}
	if c.Lifecycle != nil {
		for _, h := range []*corev1.LifecycleHandler{c.Lifecycle.PostStart, c.Lifecycle.PreStop} {
			if h != nil {
				completeGet(h.HTTPGet)
			}
		}
	}
	for i := range c.Env {
		if from := c.Env[i].ValueFrom; from != nil {
			completeSource(from)
		}
	}
}

func completeSource(from *corev1.EnvVarSource) {
	if from.FieldRef != nil {
		standard(&from.FieldRef.APIVersion, "v1")
	}
	if from.ResourceFieldRef != nil && from.ResourceFieldRef.Divisor.IsZero() {
		from.ResourceFieldRef.Divisor = resource.MustParse("1")
	}
}

func completeProbe(p *corev1.Probe) {
	if p == nil {
		return
	}
	standard(&p.TimeoutSeconds, 1)
	standard(&p.PeriodSeconds, 10)
	standard(&p.SuccessThreshold, 1)
	standard(&p.FailureThreshold, 3)
	completeGet(p.HTTPGet)
	if p.GRPC != nil {
		pointer(&p.GRPC.Service, "")
	}
}

func completeGet(get *corev1.HTTPGetAction) {
	if get != nil {
		standard(&get.Path, "/")
		standard(&get.Scheme, corev1.URISchemeHTTP)
	}
}

func completeVolume(v *corev1.Volume) {
	if v.VolumeSource == (corev1.VolumeSource{}) {
		v.EmptyDir = &corev1.EmptyDirVolumeSource{}
	}
	if v.HostPath != nil {
		pointer(&v.HostPath.Type, corev1.HostPathUnset)
	}
	if v.DownwardAPI != nil {
		pointer(&v.DownwardAPI.DefaultMode, corev1.DownwardAPIVolumeSourceDefaultMode)
		for i := range v.DownwardAPI.Items {
			item := &v.DownwardAPI.Items[i]
			completeSource(&corev1.EnvVarSource{FieldRef: item.FieldRef, ResourceFieldRef: item.ResourceFieldRef})
		}
	}
}

func pullPolicy(image string) corev1.PullPolicy {
	name := image[strings.LastIndexByte(image, '/')+1:]
	_, tag, tagged := strings.Cut(name, ":")
	if !strings.Contains(name, "@") && (!tagged || tag == "latest") {
		return corev1.PullAlways
	}
	return corev1.PullIfNotPresent
}

func standard[T comparable](value *T, otherwise T) {
	var none T
	if *value == none {
		*value = otherwise
	}
}

func pointer[T any](value **T, otherwise T) {
	if *value == nil {
		*value = &otherwise
	}
}
