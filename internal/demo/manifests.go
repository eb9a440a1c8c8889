// SPDX-License-Identifier: Apache-2.0

package demo

import (
	_ "embed" // the manifests are files, so that people can read and apply them themselves
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

var (
	//go:embed manifests/deployment.yaml
	deploymentYAML []byte
	//go:embed manifests/service.yaml
	serviceYAML []byte
	//go:embed manifests/client.yaml
	clientYAML []byte
)

const clientSelector = "app=demo-client"

// manifests are the objects of the demo.
type manifests struct {
	deployment appsv1.Deployment
	service    corev1.Service
	client     corev1.Pod // without name and node
}

func parseManifests(namespace string) (*manifests, error) {
	m := &manifests{}
	for object, text := range map[any][]byte{&m.deployment: deploymentYAML, &m.service: serviceYAML, &m.client: clientYAML} {
		if err := yaml.UnmarshalStrict(text, object); err != nil {
			return nil, fmt.Errorf("parse a manifest of the demo: %w", err)
		}
	}
	m.deployment.Namespace, m.service.Namespace, m.client.Namespace = namespace, namespace, namespace
	return m, nil
}

// clientOn returns the client pod of a node.
func (m *manifests) clientOn(node string) *corev1.Pod {
	pod := m.client.DeepCopy()
	pod.Name, pod.Spec.NodeName = "demo-client-"+node, node
	return pod
}
