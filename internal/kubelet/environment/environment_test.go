// SPDX-License-Identifier: Apache-2.0

package environment

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestExpand(t *testing.T) {
	known := func(name string) (string, bool) { return "<" + name + ">", name == "A" }
	for in, want := range map[string]string{
		"$(A)": "<A>", "x$(A)y": "x<A>y", "$(B)": "$(B)", "$$(A)": "$(A)", "$$": "$", "$": "$", "$(A": "$(A", "$A": "$A", "$$$(A)": "$<A>",
	} {
		if got := Expand(in, known); got != want {
			t.Errorf("Expand(%q) = %q, want %q", in, got, want)
		}
	}
}

type objects struct{}

func (objects) ConfigMap(_ context.Context, _, name string) (*corev1.ConfigMap, error) {
	if name != "settings" {
		return nil, apierrors.NewNotFound(corev1.Resource("configmaps"), name)
	}
	return &corev1.ConfigMap{Data: map[string]string{"color": "red", "size": "big"}}, nil
}

func (objects) Secret(_ context.Context, _, name string) (*corev1.Secret, error) {
	return nil, apierrors.NewNotFound(corev1.Resource("secrets"), name)
}

func (objects) File(_ *corev1.Pod, volume, path string) (string, error) {
	return "FROM='" + volume + "/" + path + "'\n", nil
}

func (objects) Services(namespace string) []*corev1.Service {
	name := map[string]string{"default": "kubernetes", "shop": "my-db"}[namespace]
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}}
	s.Spec.ClusterIP, s.Spec.Ports = "10.96.0.1", []corev1.ServicePort{{Port: 443, Protocol: corev1.ProtocolTCP}}
	return []*corev1.Service{s}
}

func TestVariables(t *testing.T) {
	yes, no := true, false
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", Labels: map[string]string{"tier": "front"}}}
	c := &corev1.Container{Name: "main", Resources: corev1.ResourceRequirements{Limits: corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("1500m"), corev1.ResourceMemory: resource.MustParse("64Mi")}},
		EnvFrom: []corev1.EnvFromSource{{Prefix: "P_", ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}}}},
		Env: []corev1.EnvVar{
			{Name: "COLOR", Value: "$(P_color) at $(MY_DB_SERVICE_HOST)"},
			{Name: "NAME", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}},
			{Name: "TIER", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels['tier']"}}},
			{Name: "IP", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.podIP"}}},
			{Name: "CPU", ValueFrom: &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: "limits.cpu"}}},
			{Name: "MEM", ValueFrom: &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: "limits.memory", Divisor: resource.MustParse("1Mi")}}},
			{Name: "FILE", ValueFrom: &corev1.EnvVarSource{FileKeyRef: &corev1.FileKeySelector{VolumeName: "v", Path: "env", Key: "FROM"}}},
			{Name: "NOFILE", ValueFrom: &corev1.EnvVarSource{FileKeyRef: &corev1.FileKeySelector{VolumeName: "v", Path: "env", Key: "NONE", Optional: &yes}}},
			{Name: "MAYBE", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{Key: "k", Optional: &yes}}},
		}}
	got, err := Variables(context.Background(), pod, c, Facts{PodIPs: []string{"10.244.0.2"}}, objects{})
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]string{}
	for _, v := range got {
		values[v.Name] = v.Value
	}
	for name, want := range map[string]string{"P_size": "big", "COLOR": "red at 10.96.0.1", "NAME": "web", "TIER": "front", "IP": "10.244.0.2", "CPU": "2",
		"MEM": "64", "FILE": "v/env", "KUBERNETES_SERVICE_HOST": "10.96.0.1", "MY_DB_PORT_443_TCP": "tcp://10.96.0.1:443", "MY_DB_SERVICE_PORT": "443"} {
		if diff := cmp.Diff(want, values[name]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	for _, name := range []string{"MAYBE", "NOFILE"} {
		if _, set := values[name]; set {
			t.Errorf("%s: an optional reference to nothing made a variable", name)
		}
	}
	pod.Spec.EnableServiceLinks = &no
	c.Env = []corev1.EnvVar{{Name: "MUST", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{Key: "k"}}}}
	if _, err := Variables(context.Background(), pod, c, Facts{}, objects{}); !apierrors.IsNotFound(err) {
		t.Errorf("a reference to nothing gave %v", err)
	}
}

// A limit that a container does not have is its pod's, or else the node's.
func TestLimitsThatAreNotSet(t *testing.T) {
	pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "main"}}}}
	node := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("4"), corev1.ResourceMemory: resource.MustParse("8Gi")}
	limit := func(name string) string {
		t.Helper()
		got, err := Resource(pod, &pod.Spec.Containers[0], &corev1.ResourceFieldSelector{Resource: name}, node)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := limit("limits.cpu"); got != "4" {
		t.Errorf("the node has 4 processors, the container %s", got)
	}
	pod.Spec.Resources = &corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2")}}
	if cpu, memory := limit("limits.cpu"), limit("limits.memory"); cpu != "2" || memory != "8589934592" {
		t.Errorf("of a pod with 2 processors the container has %s, and %s bytes", cpu, memory)
	}
	pod.Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")}
	if got := limit("limits.cpu"); got != "1" {
		t.Errorf("its own limit is 1, it has %s", got)
	}
}
