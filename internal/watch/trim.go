// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	utilnet "k8s.io/utils/net"

	"eastwest/internal/snapshot"
	"eastwest/internal/table"
)

// taintLeaving is how the cluster autoscaler says that a node goes soon.
const taintLeaving = "ToBeDeletedByClusterAutoscaler"

// labelProxyName marks services that another proxy serves.
const labelProxyName = "service.kubernetes.io/service-proxy-name"

// conditionFromPool is how internal/controller/loadbalancer marks addresses of the server's pool.
const conditionFromPool = "eastwest.local/AddressFromPool"

// triggered returns when what a slice tells of happened; zero when it does not say.
func triggered(annotations map[string]string) time.Time {
	at, err := time.Parse(time.RFC3339Nano, annotations[corev1.EndpointsLastChangeTriggerTime])
	if err != nil {
		return time.Time{}
	}
	return at
}

// isUnproxied reports whether the labels of a Service or an EndpointSlice say that proxies leave it alone.
func isUnproxied(labels map[string]string) bool {
	_, other := labels[labelProxyName]
	_, headless := labels[corev1.IsHeadlessService]
	return other || headless
}

// trimService keeps what a node needs. Addresses that do not parse are left out: the API server has validated them, and
// one bad address must not take the service away.
func trimService(in *corev1.Service, names interned) *snapshot.Service {
	out := &snapshot.Service{
		Namespace: names.of(in.Namespace), Name: strings.Clone(in.Name),
		Headless:        in.Spec.ClusterIP == corev1.ClusterIPNone,
		Ports:           trimPorts(in.Spec.Ports, names),
		SourceRanges:    sourceRanges(in.Spec.LoadBalancerSourceRanges),
		AffinitySeconds: affinity(in),
		ExternalIPs:     addrs(in.Spec.ExternalIPs),
		LoadBalancerIPs: loadBalancerIPs(in),
		Announced:       in.Spec.Type == corev1.ServiceTypeLoadBalancer && meta.IsStatusConditionTrue(in.Status.Conditions, conditionFromPool),
		InternalLocal:   in.Spec.InternalTrafficPolicy != nil && *in.Spec.InternalTrafficPolicy == corev1.ServiceInternalTrafficPolicyLocal,
		ExternalLocal:   in.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal,
		PublishNotReady: in.Spec.PublishNotReadyAddresses,
		Unproxied:       isUnproxied(in.Labels),
	}
	if in.Spec.Type == corev1.ServiceTypeExternalName {
		out.ExternalName = strings.Clone(strings.TrimSuffix(in.Spec.ExternalName, "."))
	} else if !out.Headless {
		out.ClusterIPs = addrs(clusterIPs(in))
	}
	if in.Spec.TrafficDistribution != nil {
		out.Distribution = strings.Clone(*in.Spec.TrafficDistribution)
	}
	out.HealthCheckNodePort = uint16(in.Spec.HealthCheckNodePort)
	for _, family := range in.Spec.IPFamilies {
		out.IPv4 = out.IPv4 || family == corev1.IPv4Protocol
		out.IPv6 = out.IPv6 || family == corev1.IPv6Protocol
	}
	return out
}

func clusterIPs(in *corev1.Service) []string {
	if len(in.Spec.ClusterIPs) == 0 && in.Spec.ClusterIP != "" {
		return []string{in.Spec.ClusterIP}
	}
	return in.Spec.ClusterIPs
}

func loadBalancerIPs(in *corev1.Service) []netip.Addr {
	if in.Spec.Type != corev1.ServiceTypeLoadBalancer {
		return nil
	}
	var out []netip.Addr
	for _, ingress := range in.Status.LoadBalancer.Ingress {
		if ingress.IPMode != nil && *ingress.IPMode == corev1.LoadBalancerIPModeProxy {
			continue
		}
		out = append(out, addrs([]string{ingress.IP})...)
	}
	return out
}

func affinity(in *corev1.Service) uint32 {
	if in.Spec.SessionAffinity != corev1.ServiceAffinityClientIP {
		return 0
	}
	if c := in.Spec.SessionAffinityConfig; c != nil && c.ClientIP != nil && c.ClientIP.TimeoutSeconds != nil {
		return uint32(*c.ClientIP.TimeoutSeconds)
	}
	return uint32(corev1.DefaultClientIPServiceAffinitySeconds)
}

func trimPorts(in []corev1.ServicePort, names interned) []snapshot.Port {
	out := make([]snapshot.Port, 0, len(in))
	for _, p := range in {
		out = append(out, snapshot.Port{
			Name: names.of(p.Name), Protocol: protocol(p.Protocol), Port: uint16(p.Port), NodePort: uint16(p.NodePort),
		})
	}
	return out
}

// trimSlice keeps what a node needs; false when the slice names no service or has no addresses. Slices are most of what
// a node knows: what many of their endpoints have in common is kept once.
func trimSlice(in *discoveryv1.EndpointSlice, names interned) (*snapshot.Slice, bool) {
	service := in.Labels[discoveryv1.LabelServiceName]
	if service == "" || in.AddressType == discoveryv1.AddressTypeFQDN {
		return nil, false
	}
	out := &snapshot.Slice{
		Unproxied: isUnproxied(in.Labels), Triggered: triggered(in.Annotations),
		Namespace: names.of(in.Namespace), Name: strings.Clone(in.Name), Service: strings.Clone(service),
		IPv6: in.AddressType == discoveryv1.AddressTypeIPv6, Ports: make([]snapshot.SlicePort, 0, len(in.Ports)),
	}
	for _, p := range in.Ports {
		if p.Port == nil {
			continue // every port, which no Service can mean
		}
		port := snapshot.SlicePort{Protocol: table.TCP, Port: uint16(*p.Port), Name: names.of(text(p.Name))}
		if p.Protocol != nil {
			port.Protocol = protocol(*p.Protocol)
		}
		out.Ports = append(out.Ports, port)
	}
	out.Endpoints = make([]snapshot.Endpoint, 0, len(in.Endpoints))
	shared := endpointMemory{addrs: make([]netip.Addr, 0, len(in.Endpoints)), names: names}
	for i := range in.Endpoints {
		if endpoint, ok := shared.trim(&in.Endpoints[i], out); ok {
			out.Endpoints = append(out.Endpoints, endpoint)
		}
	}
	return out, true
}

// endpointMemory is where the endpoints of one slice have their addresses: one piece of memory for all.
type endpointMemory struct {
	addrs []netip.Addr
	names interned
}

func (m *endpointMemory) trim(in *discoveryv1.Endpoint, slice *snapshot.Slice) (snapshot.Endpoint, bool) {
	out := snapshot.Endpoint{
		Ready:       in.Conditions.Ready == nil || *in.Conditions.Ready,
		Serving:     in.Conditions.Serving == nil || *in.Conditions.Serving,
		Terminating: in.Conditions.Terminating != nil && *in.Conditions.Terminating,
		Hostname:    strings.Clone(text(in.Hostname)), Node: m.names.of(text(in.NodeName)),
	}
	from := len(m.addrs)
	for _, s := range in.Addresses {
		if addr, ok := parseAddr(s); ok && addr.Is6() == slice.IPv6 {
			m.addrs = append(m.addrs, addr)
		}
	}
	if len(m.addrs) == from {
		return out, false
	}
	out.Addrs = slices.Clip(m.addrs[from:])
	if in.Hints != nil && len(in.Hints.ForZones)+len(in.Hints.ForNodes) > 0 {
		out.Hints = &snapshot.Hints{}
		for _, hint := range in.Hints.ForZones {
			out.Hints.Zones = append(out.Hints.Zones, m.names.of(hint.Name))
		}
		for _, hint := range in.Hints.ForNodes {
			out.Hints.Nodes = append(out.Hints.Nodes, m.names.of(hint.Name))
		}
	}
	if in.TargetRef != nil && in.TargetRef.Kind == "Pod" && in.TargetRef.Namespace == slice.Namespace {
		out.Pod = strings.Clone(in.TargetRef.Name)
	}
	return out, true
}

// interned holds names that many objects have: of namespaces, nodes, zones and ports.
type interned map[string]string

// maxInterned bounds what is remembered: a cluster that gets and loses nodes all the time must not fill memory with names.
const maxInterned = 1 << 16

// of returns the one copy of a name; it does not keep name, which may be a piece of a decoded object.
func (in interned) of(name string) string {
	if kept, ok := in[name]; ok {
		return kept
	}
	if len(in) >= maxInterned {
		clear(in)
	}
	name = strings.Clone(name)
	in[name] = name
	return name
}

// TrimNode keeps what a node needs of a Node.
func TrimNode(in *corev1.Node) *snapshot.Node {
	out := &snapshot.Node{Name: strings.Clone(in.Name), Zone: strings.Clone(in.Labels[corev1.LabelTopologyZone])}
	for _, address := range in.Status.Addresses {
		switch address.Type {
		case corev1.NodeInternalIP:
			out.Addrs = append(out.Addrs, addrs([]string{address.Address})...)
		case corev1.NodeExternalIP:
			out.Others = append(out.Others, addrs([]string{address.Address})...)
		}
	}
	cidrs := in.Spec.PodCIDRs
	if len(cidrs) == 0 && in.Spec.PodCIDR != "" {
		cidrs = []string{in.Spec.PodCIDR}
	}
	out.PodCIDRs = prefixes(cidrs)
	out.Leaving = in.DeletionTimestamp != nil || slices.ContainsFunc(in.Spec.Taints, func(t corev1.Taint) bool { return t.Key == taintLeaving })
	_, out.Excluded = in.Labels[corev1.LabelNodeExcludeBalancers]
	out.Ready = slices.ContainsFunc(in.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
	return out
}

func protocol(p corev1.Protocol) table.Protocol {
	switch p {
	case corev1.ProtocolUDP:
		return table.UDP
	case corev1.ProtocolSCTP:
		return table.SCTP
	}
	return table.TCP
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func addrs(in []string) []netip.Addr {
	if len(in) == 0 {
		return nil
	}
	out := make([]netip.Addr, 0, len(in))
	for _, s := range in {
		if addr, ok := parseAddr(s); ok {
			out = append(out, addr)
		}
	}
	return out
}

// parseAddr reads an address in the forms that the API ever let in: IPv4 as IPv6, and numbers with leading zeros, which are
// decimal.
func parseAddr(s string) (netip.Addr, bool) {
	addr, err := netip.ParseAddr(s)
	if err != nil {
		var ok bool
		if addr, ok = netip.AddrFromSlice(utilnet.ParseIPSloppy(s)); !ok {
			return addr, false
		}
	}
	return addr.Unmap(), true
}

func prefixes(in []string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range in {
		if prefix, ok := parsePrefix(strings.TrimSpace(s)); ok {
			out = append(out, prefix)
		}
	}
	return out
}

// parsePrefix reads a range in the forms that parseAddr reads.
func parsePrefix(s string) (netip.Prefix, bool) {
	text, length, _ := strings.Cut(s, "/")
	bits, err := strconv.Atoi(length)
	addr, ok := parseAddr(text)
	if err != nil || !ok {
		return netip.Prefix{}, false
	}
	if addr.Is4() && strings.Contains(text, ":") {
		bits -= 96 // of an IPv4 address as IPv6
	}
	prefix, err := addr.Prefix(bits)
	return prefix, err == nil
}

// sourceRanges keeps that there are ranges even where none can be read: then nobody is let in, instead of everybody.
func sourceRanges(in []string) []netip.Prefix {
	if len(in) == 0 {
		return nil
	}
	return append([]netip.Prefix{}, prefixes(in)...)
}

func trimPod(in *corev1.Pod, names interned) *snapshot.Pod {
	out := &snapshot.Pod{Namespace: names.of(in.Namespace), Name: strings.Clone(in.Name)}
	for _, ip := range in.Status.PodIPs {
		out.Addrs = append(out.Addrs, addrs([]string{ip.IP})...)
	}
	return out
}
