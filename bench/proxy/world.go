// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// world is random objects.
type world struct {
	random   *rand.Rand
	services []corev1.Service
	slices   []discoveryv1.EndpointSlice // the first of each service
	more     []discoveryv1.EndpointSlice
}

// probe is a client and where it connects to.
type probe struct{ from, network, to, what string }

// String says what is asked for, and the policies behind it.
func (p probe) String() string {
	return fmt.Sprintf("%s asks %s %s (%s)", p.from, p.network, p.to, p.what)
}

func random(seed uint64, services int) *world {
	w := &world{random: rand.New(rand.NewPCG(seed, 1))}
	for i := range services {
		w.service(i)
	}
	return w
}

func (w *world) api() *api {
	return &api{version: 1, watchers: map[chan *watch.Event]bool{}, services: w.services, slices: slices.Concat(w.slices, w.more)}
}

func (w *world) chance(percent int) bool { return w.random.IntN(100) < percent }

func (w *world) service(i int) {
	name, vip := fmt.Sprint("s", i), vipOf(i)
	meta := metav1.ObjectMeta{Namespace: "default", Name: name, UID: "1", ResourceVersion: "1"}
	internal, external := corev1.ServiceInternalTrafficPolicyCluster, corev1.ServiceExternalTrafficPolicyCluster
	if w.chance(25) {
		internal = corev1.ServiceInternalTrafficPolicyLocal
	}
	if w.chance(50) {
		external = corev1.ServiceExternalTrafficPolicyLocal
	}
	s := corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{
		Type: corev1.ServiceTypeClusterIP, ClusterIP: vip, ClusterIPs: []string{vip}, IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol},
		InternalTrafficPolicy: &internal, SessionAffinity: corev1.ServiceAffinityNone,
		Ports: []corev1.ServicePort{{Name: "http", Protocol: corev1.ProtocolTCP, Port: 80}},
	}}
	if w.chance(30) {
		s.Spec.Ports[0].Protocol = corev1.ProtocolUDP
	}
	if w.chance(30) {
		s.Spec.ExternalIPs = []string{fmt.Sprintf("203.0.%d.%d", 113+i/250, i%250+1)}
		s.Spec.ExternalTrafficPolicy = external
	}
	if w.chance(60) {
		s.Spec.Type, s.Spec.ExternalTrafficPolicy = corev1.ServiceTypeNodePort, external
		s.Spec.Ports[0].NodePort = int32(30000 + i)
	}
	if s.Spec.Type == corev1.ServiceTypeNodePort && w.chance(60) {
		s.Spec.Type = corev1.ServiceTypeLoadBalancer
		mode := corev1.LoadBalancerIPModeVIP
		if w.chance(20) {
			mode = corev1.LoadBalancerIPModeProxy
		}
		s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: fmt.Sprintf("198.51.%d.%d", 100+i/250, i%250+1), IPMode: &mode}}
		if w.chance(30) {
			s.Spec.LoadBalancerSourceRanges = []string{[]string{"198.18.0.0/24", " 10.244.0.0/16 ", "172.18.0.0/16"}[w.random.IntN(3)]}
		}
	}
	w.services = append(w.services, s)
	w.slice(name, meta, s.Spec.Ports[0].Protocol)
}

func (w *world) slice(name string, meta metav1.ObjectMeta, protocol corev1.Protocol) {
	meta.Labels = map[string]string{discoveryv1.LabelServiceName: name}
	port, portName := int32(8080), "http"
	slice := discoveryv1.EndpointSlice{ObjectMeta: meta, AddressType: discoveryv1.AddressTypeIPv4,
		Ports: []discoveryv1.EndpointPort{{Name: &portName, Protocol: &protocol, Port: &port}}}
	hints := w.chance(25)
	for _, e := range []struct{ addr, node string }{{localPod, nodeName}, {farPod, "other"}, {farPod2, "other"}} {
		if w.chance(40) {
			continue
		}
		out := endpoint(e.addr)
		out.NodeName = &e.node
		if w.chance(40) {
			no, serving, terminating := false, w.chance(60), w.chance(80)
			out.Conditions = discoveryv1.EndpointConditions{Ready: &no, Serving: &serving, Terminating: &terminating}
			if serving && w.chance(30) {
				out.Conditions.Serving = nil // which means that it does
			}
		} else if w.chance(20) {
			out.Conditions = discoveryv1.EndpointConditions{}
		}
		if hints && !w.chance(10) {
			out.Hints = &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: []string{"z1", "z2"}[w.random.IntN(2)]}}}
			if w.chance(40) {
				out.Hints.ForNodes = []discoveryv1.ForNode{{Name: []string{nodeName, "other"}[w.random.IntN(2)]}}
			}
		}
		slice.Endpoints = append(slice.Endpoints, out)
	}
	w.slices = append(w.slices, slice)
	if w.chance(20) {
		w.contradict(slice)
	}
}

// contradict adds slices that say something else of the same endpoints: that they terminate, at no port, or by another family.
func (w *world) contradict(slice discoveryv1.EndpointSlice) {
	yes, no := true, false
	terminating := *slice.DeepCopy()
	terminating.Name += "-terminating"
	for i := range terminating.Endpoints {
		terminating.Endpoints[i].Conditions = discoveryv1.EndpointConditions{Ready: &no, Serving: &yes, Terminating: &yes}
	}
	portless, foreign := *slice.DeepCopy(), *slice.DeepCopy()
	portless.Name, portless.Ports = slice.Name+"-portless", nil
	foreign.Name, foreign.AddressType, foreign.Endpoints = slice.Name+"-foreign", discoveryv1.AddressTypeIPv6, []discoveryv1.Endpoint{endpoint("fd00:10::2")}
	if !slices.ContainsFunc(slice.Endpoints, func(e discoveryv1.Endpoint) bool { return !isReady(e) }) {
		w.more = append(w.more, terminating) // of one that is not ready nothing says which slice is right
	}
	w.more = append(w.more, portless, foreign)
}

func isReady(e discoveryv1.Endpoint) bool { return e.Conditions.Ready == nil || *e.Conditions.Ready }

// probes asks for every address of every service from everywhere, and for a port that none has.
func (w *world) probes() []probe {
	var out []probe
	var network string
	add := func(addr string, port int32, what string) {
		for _, from := range []string{"pod", "node", "outside"} {
			out = append(out, probe{from, network, net.JoinHostPort(addr, strconv.Itoa(int(port))), what})
		}
	}
	for i, s := range w.services {
		network = strings.ToLower(string(s.Spec.Ports[0].Protocol))
		ready := ""
		for _, e := range w.slices[i].Endpoints {
			ready += fmt.Sprintf(" %s:%t", e.Addresses[0], isReady(e))
		}
		what := fmt.Sprintf("%s, internal %s, external %s, ranges %v, endpoints%s", s.Name, *s.Spec.InternalTrafficPolicy,
			s.Spec.ExternalTrafficPolicy, s.Spec.LoadBalancerSourceRanges, ready)
		add(s.Spec.ClusterIP, 80, "cluster IP of "+what)
		for _, a := range s.Spec.ExternalIPs {
			add(a, 80, "external IP of "+what)
		}
		for _, ingress := range s.Status.LoadBalancer.Ingress {
			add(ingress.IP, 80, fmt.Sprintf("load balancer %s of %s", *ingress.IPMode, what))
		}
		if port := s.Spec.Ports[0].NodePort; port != 0 {
			add(nodeIP, port, "node port of "+what)
		}
		if i%10 == 0 {
			add(s.Spec.ClusterIP, 81, "unused port of "+what)
		}
	}
	return out
}
