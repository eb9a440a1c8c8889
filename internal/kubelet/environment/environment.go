// SPDX-License-Identifier: Apache-2.0

// Package environment works out the environment variables of a container: service variables, envFrom, env with references to config
// maps, secrets, the pod's own fields and resources, and $(NAME) expansion.
package environment

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Variable is one environment variable.
type Variable struct{ Name, Value string }

// Source answers the objects that variables refer to. A missing object is an error that apierrors.IsNotFound knows.
type Source interface {
	ConfigMap(ctx context.Context, namespace, name string) (*corev1.ConfigMap, error)
	Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error)
	// Services returns those of a namespace.
	Services(namespace string) []*corev1.Service
	// File returns what is in a file of a volume.
	File(pod *corev1.Pod, volume, path string) (string, error)
}

// Facts are what variables may say of the running pod and its node.
type Facts struct {
	PodIPs, HostIPs []string
	NodeName        string
	Allocatable     corev1.ResourceList // stands in for limits that are not set
	MasterNamespace string              // whose Service "kubernetes" every pod is told about
}

// builder keeps the order in which variables were first named; a later value replaces an earlier one in place.
type builder struct {
	order  []string
	values map[string]string
}

func (b *builder) set(name, value string) {
	if _, known := b.values[name]; !known {
		b.order = append(b.order, name)
	}
	b.values[name] = value
}

// Variables returns the container's environment in order.
func Variables(ctx context.Context, pod *corev1.Pod, c *corev1.Container, facts Facts, source Source) ([]Variable, error) {
	b := &builder{values: map[string]string{}}
	services := serviceVariables(pod, facts, source)
	for _, from := range c.EnvFrom {
		if err := b.from(ctx, pod, from, source); err != nil {
			return nil, err
		}
	}
	for i := range c.Env {
		if err := b.one(ctx, pod, c, &c.Env[i], facts, source, services); err != nil {
			return nil, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(services)) {
		if _, own := b.values[name]; !own {
			b.set(name, services[name])
		}
	}
	out := make([]Variable, len(b.order))
	for i, name := range b.order {
		out[i] = Variable{name, b.values[name]}
	}
	return out, nil
}

func (b *builder) one(ctx context.Context, pod *corev1.Pod, c *corev1.Container, v *corev1.EnvVar, facts Facts, source Source, services map[string]string) error {
	if v.ValueFrom == nil {
		b.set(v.Name, Expand(v.Value, func(name string) (string, bool) {
			if value, known := b.values[name]; known {
				return value, true
			}
			value, known := services[name]
			return value, known
		}))
		return nil
	}
	value, present, err := reference(ctx, pod, c, v.ValueFrom, facts, source)
	if err != nil {
		return err
	}
	if present {
		b.set(v.Name, value)
	}
	return nil
}

func reference(ctx context.Context, pod *corev1.Pod, c *corev1.Container, from *corev1.EnvVarSource, facts Facts, source Source) (string, bool, error) {
	switch {
	case from.FieldRef != nil:
		value, err := Field(pod, from.FieldRef.FieldPath, facts)
		return value, true, err
	case from.ResourceFieldRef != nil:
		value, err := Resource(pod, c, from.ResourceFieldRef, facts.Allocatable)
		return value, true, err
	case from.ConfigMapKeyRef != nil:
		return configMapKey(ctx, pod.Namespace, from.ConfigMapKeyRef, source)
	case from.SecretKeyRef != nil:
		return secretKey(ctx, pod.Namespace, from.SecretKeyRef, source)
	case from.FileKeyRef != nil:
		return fileKey(pod, from.FileKeyRef, source)
	}
	return "", false, fmt.Errorf("this kind of valueFrom is not known here: use fieldRef, resourceFieldRef, configMapKeyRef, secretKeyRef or fileKeyRef")
}

func configMapKey(ctx context.Context, namespace string, ref *corev1.ConfigMapKeySelector, source Source) (string, bool, error) {
	object, err := source.ConfigMap(ctx, namespace, ref.Name)
	if err != nil {
		return "", false, optional(ref.Optional, err)
	}
	if value, ok := object.Data[ref.Key]; ok {
		return value, true, nil
	}
	return "", false, optional(ref.Optional, noKey(ref.Key, "ConfigMap", namespace, ref.Name))
}

func secretKey(ctx context.Context, namespace string, ref *corev1.SecretKeySelector, source Source) (string, bool, error) {
	object, err := source.Secret(ctx, namespace, ref.Name)
	if err != nil {
		return "", false, optional(ref.Optional, err)
	}
	if value, ok := object.Data[ref.Key]; ok {
		return string(value), true, nil
	}
	return "", false, optional(ref.Optional, noKey(ref.Key, "Secret", namespace, ref.Name))
}

func (b *builder) from(ctx context.Context, pod *corev1.Pod, from corev1.EnvFromSource, source Source) error {
	data := map[string]string{}
	switch {
	case from.ConfigMapRef != nil:
		object, err := source.ConfigMap(ctx, pod.Namespace, from.ConfigMapRef.Name)
		if err != nil {
			return optional(from.ConfigMapRef.Optional, err)
		}
		data = object.Data
	case from.SecretRef != nil:
		object, err := source.Secret(ctx, pod.Namespace, from.SecretRef.Name)
		if err != nil {
			return optional(from.SecretRef.Optional, err)
		}
		for key, value := range object.Data {
			data[key] = string(value)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(data)) {
		if name := from.Prefix + key; validName(name) {
			b.set(name, data[key])
		}
	}
	return nil
}

// validName refuses what cannot be told apart in an environment block.
func validName(name string) bool { return name != "" && !strings.ContainsAny(name, "=\x00") }
