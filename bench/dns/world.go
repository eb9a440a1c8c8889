// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
)

// perNamespace is how many services a namespace has.
const perNamespace = 100

func serviceOf(i int) (namespace, name, ip string) {
	return fmt.Sprint("ns-", i/perNamespace), fmt.Sprint("service-", i), fmt.Sprintf("10.%d.%d.%d", 96+i>>16, i>>8&255, i&255)
}

// world makes the objects of a cluster with so many services, by resource.
func world(services, endpoints int) map[string][]runtime.Object {
	objects := map[string][]runtime.Object{"nodes": {}}
	for i := range services {
		namespace, name, ip := serviceOf(i)
		if i%perNamespace == 0 {
			objects["namespaces"] = append(objects["namespaces"], &corev1.Namespace{ObjectMeta: metaOf("", namespace, i)})
		}
		objects["services"] = append(objects["services"], &corev1.Service{
			ObjectMeta: metaOf(namespace, name, i),
			Spec: corev1.ServiceSpec{
				Type: corev1.ServiceTypeClusterIP, ClusterIP: ip, ClusterIPs: []string{ip}, IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol},
				Selector: map[string]string{"app": name},
				Ports:    []corev1.ServicePort{{Name: "http", Protocol: corev1.ProtocolTCP, Port: 80}},
			},
		})
		if endpoints > 0 {
			objects["endpointslices"] = append(objects["endpointslices"], sliceOf(i, endpoints))
		}
	}
	return objects
}

// metaOf is what an API server keeps of every object, the fields that its writer manages among it.
func metaOf(namespace, name string, i int) metav1.ObjectMeta {
	now := metav1.Unix(1700000000, 0)
	return metav1.ObjectMeta{
		Namespace: namespace, Name: name, UID: types.UID(fmt.Sprintf("6b1bb7f2-9d5c-4a37-8a3b-%012d", i)), ResourceVersion: fmt.Sprint(i + 1),
		CreationTimestamp: now, Labels: map[string]string{"app": name},
		ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kube-controller-manager", Operation: metav1.ManagedFieldsOperationUpdate,
			APIVersion: "v1", Time: &now, FieldsType: "FieldsV1", FieldsV1: &metav1.FieldsV1{Raw: []byte(
				`{"f:metadata":{"f:labels":{".":{},"f:app":{}},"f:ownerReferences":{".":{}}},"f:spec":{"f:ports":{},"f:selector":{}}}`)}}},
	}
}

func sliceOf(service, endpoints int) *discoveryv1.EndpointSlice {
	namespace, name, _ := serviceOf(service)
	port, proto, portName, ready := int32(8080), corev1.ProtocolTCP, "http", true
	s := &discoveryv1.EndpointSlice{
		ObjectMeta:  metaOf(namespace, name+"-x", service),
		AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Name: &portName, Protocol: &proto, Port: &port}},
	}
	s.Labels[discoveryv1.LabelServiceName] = name
	for i := range endpoints {
		n := service*endpoints + i
		node := fmt.Sprint("node-", n%100)
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{fmt.Sprintf("10.%d.%d.%d", 128+n>>16, n>>8&255, n&255)}, NodeName: &node,
			Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &ready},
			TargetRef:  &corev1.ObjectReference{Kind: "Pod", Namespace: namespace, Name: fmt.Sprint(name, "-7c5b9d6f8-", i), UID: types.UID(fmt.Sprintf("0a1bb7f2-9d5c-4a37-8a3b-%012d", n))},
		})
	}
	if service == 0 {
		s.Endpoints[0].Addresses = []string{clientAddress}
	}
	return s
}
