// SPDX-License-Identifier: Apache-2.0

package parity

import (
	"fmt"
	"math/rand/v2"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// world is a generated cluster.
type world struct {
	*rand.Rand
	objects map[string][]runtime.Object // by resource
	addrs   []string                    // that something in the world has
	names   []string                    // namespace/name of services
}

var (
	namespaces = []string{"default", "kube-system", "a", "svc", "empty"}
	services   = []string{"web", "db", "a", "svc", "pod", "x-1", "tcp"}
	portNames  = []string{"", "http", "dns", "dns-tcp", "tcp"}
	protocols  = []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP}
)

func newWorld(seed uint64) *world {
	w := &world{Rand: rand.New(rand.NewPCG(seed, 1)), objects: map[string][]runtime.Object{}}
	for _, n := range namespaces {
		w.add("namespaces", &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: n}})
	}
	for _, namespace := range namespaces[:4] {
		for _, name := range services {
			if w.IntN(4) > 0 {
				w.service(namespace, name)
			}
		}
		for i := range 3 {
			w.pod(namespace, fmt.Sprint("pod-", i))
		}
	}
	return w
}

func (w *world) add(resource string, o runtime.Object) {
	w.objects[resource] = append(w.objects[resource], o)
}

func one[T any](w *world, from []T) T { return from[w.IntN(len(from))] }

func (w *world) service(namespace, name string) {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	w.names = append(w.names, namespace+"/"+name)
	for range w.IntN(4) {
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: one(w, portNames), Protocol: one(w, protocols), Port: int32(1 + w.IntN(3))})
	}
	switch w.IntN(5) {
	case 0:
		s.Spec.Type, s.Spec.ExternalName = corev1.ServiceTypeExternalName, one(w, externals)
		w.add("services", s)
		return
	case 1, 2:
		s.Spec.ClusterIP, s.Spec.ClusterIPs = corev1.ClusterIPNone, []string{corev1.ClusterIPNone}
	default:
		s.Spec.ClusterIPs = []string{fmt.Sprintf("10.96.%d.%d", len(w.names), w.IntN(250))}
		if w.IntN(2) == 0 {
			s.Spec.ClusterIPs = append(s.Spec.ClusterIPs, fmt.Sprintf("fd00:96::%x", len(w.names)*256+w.IntN(250)))
		}
		s.Spec.ClusterIP = s.Spec.ClusterIPs[0]
		if len(s.Spec.Ports) == 0 { // the API server refuses it
			s.Spec.Ports = []corev1.ServicePort{{Protocol: corev1.ProtocolTCP, Port: 80}}
		}
		w.addrs = append(w.addrs, s.Spec.ClusterIPs...)
	}
	s.Spec.PublishNotReadyAddresses = w.IntN(4) == 0
	w.add("services", s)
	for i := range w.IntN(3) {
		w.slice(s, i)
	}
}

func (w *world) slice(s *corev1.Service, i int) {
	six := w.IntN(3) == 0
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: s.Namespace, Name: fmt.Sprint(s.Name, "-", i), Labels: map[string]string{discoveryv1.LabelServiceName: s.Name},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
	}
	if six {
		slice.AddressType = discoveryv1.AddressTypeIPv6
	}
	for _, p := range s.Spec.Ports {
		slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{Name: &p.Name, Protocol: &p.Protocol, Port: &p.Port})
	}
	for range w.IntN(5) {
		slice.Endpoints = append(slice.Endpoints, w.endpoint(s, six))
	}
	w.add("endpointslices", slice)
}

func (w *world) endpoint(s *corev1.Service, six bool) discoveryv1.Endpoint {
	addr := fmt.Sprintf("10.244.0.%d", 1+w.IntN(40))
	if six {
		addr = fmt.Sprintf("fd00:244::%x", w.IntN(40))
	}
	w.addrs = append(w.addrs, addr)
	// The EndpointSlice controller says ready for every endpoint of a service that publishes those that are not.
	ready := s.Spec.PublishNotReadyAddresses || w.IntN(4) > 0
	e := discoveryv1.Endpoint{Addresses: []string{addr}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}
	if w.IntN(3) == 0 {
		host := fmt.Sprint("h-", w.IntN(3))
		e.Hostname = &host
	}
	return e
}

func (w *world) pod(namespace, name string) {
	ips := []corev1.PodIP{{IP: fmt.Sprintf("10.244.0.%d", 1+w.IntN(40))}, {IP: fmt.Sprintf("fd00:244::%x", w.IntN(40))}}
	w.add("pods", &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, PodIP: ips[0].IP, PodIPs: ips},
	})
	w.addrs = append(w.addrs, ips[0].IP, ips[1].IP)
}

// externals are what ExternalName services point to: outside, inside, in circles, nowhere, and an address.
var externals = []string{
	"www.example.com", "alias.example.com", "nowhere.example.com", "web.default.svc.cluster.local", "a.a.svc.cluster.local",
	"none.default.svc.cluster.local", "db.kube-system.svc.cluster.local", "192.0.2.9",
}
