// SPDX-License-Identifier: Apache-2.0

package clusterdns

import (
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// slice returns the EndpointSlice that lists the nodes' agents at addresses of one family, sorted by node.
func slice(service *corev1.Service, nodes []*corev1.Node, is4 bool) *discoveryv1.EndpointSlice {
	family := discoveryv1.AddressTypeIPv4
	if !is4 {
		family = discoveryv1.AddressTypeIPv6
	}
	s := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: Namespace, Name: Name + "-" + strings.ToLower(string(family)),
			Labels: map[string]string{
				discoveryv1.LabelServiceName: Name, discoveryv1.LabelManagedBy: managedBy,
				"k8s-app": Name, "kubernetes.io/cluster-service": "true",
			},
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(service, corev1.SchemeGroupVersion.WithKind("Service"))},
		},
		AddressType: family,
		Ports:       ports(),
	}
	for _, node := range nodes {
		if e := endpointOf(node); e != nil {
			if addresses := ofFamily(e.Addresses, is4); len(addresses) > 0 {
				e.Addresses = addresses[:1]
				s.Endpoints = append(s.Endpoints, *e)
			}
		}
	}
	slices.SortFunc(s.Endpoints, func(a, b discoveryv1.Endpoint) int { return strings.Compare(*a.NodeName, *b.NodeName) })
	return s
}

func ports() []discoveryv1.EndpointPort {
	port := func(name string, protocol corev1.Protocol, number int32) discoveryv1.EndpointPort {
		return discoveryv1.EndpointPort{Name: &name, Protocol: &protocol, Port: &number}
	}
	return []discoveryv1.EndpointPort{
		port("dns", corev1.ProtocolUDP, AgentPort),
		port("dns-tcp", corev1.ProtocolTCP, AgentPort),
		port("metrics", corev1.ProtocolTCP, MetricsPort),
	}
}

// endpointOf returns a node as an endpoint with all its internal addresses, or nil for what is no node.
func endpointOf(object any) *discoveryv1.Endpoint {
	node, ok := object.(*corev1.Node)
	if !ok {
		return nil
	}
	ready, terminating := false, node.DeletionTimestamp != nil
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			ready = condition.Status == corev1.ConditionTrue && !terminating
		}
	}
	name := node.Name
	endpoint := &discoveryv1.Endpoint{
		NodeName:   &name,
		Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &ready, Terminating: &terminating},
		TargetRef:  &corev1.ObjectReference{Kind: "Node", Name: name, UID: node.UID},
	}
	for _, address := range node.Status.Addresses {
		if address.Type == corev1.NodeInternalIP {
			endpoint.Addresses = append(endpoint.Addresses, address.Address)
		}
	}
	return endpoint
}

func ofFamily(addresses []string, is4 bool) []string {
	var out []string
	for _, text := range addresses {
		if address, err := netip.ParseAddr(text); err == nil && address.Is4() == is4 {
			out = append(out, text)
		}
	}
	return out
}
