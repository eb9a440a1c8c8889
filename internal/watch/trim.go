// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"eastwest/internal/snapshot"
	"eastwest/internal/table"
)

type (
	serviceObject = *corev1.Service
	sliceObject   = *discoveryv1.EndpointSlice
	nodeObject    = *corev1.Node
)

// taintLeaving is how the cluster autoscaler says that a node goes soon.
const taintLeaving = "ToBeDeletedByClusterAutoscaler"

// labelProxyName marks services that another proxy serves.
const labelProxyName = "service.kubernetes.io/service-proxy-name"

// trimService keeps what a node needs. Addresses that do not parse are left out: the API server has validated them, and
// one bad address must not take the service away.
func trimService(in *corev1.Service) *snapshot.Service {
	_, unproxied := in.Labels[labelProxyName]
	_, headless := in.Labels[corev1.IsHeadlessService]
	out := &snapshot.Service{
		Namespace: strings.Clone(in.Namespace), Name: strings.Clone(in.Name),
		Headless:        in.Spec.ClusterIP == corev1.ClusterIPNone,
		Ports:           trimPorts(in.Spec.Ports),
		SourceRanges:    prefixes(in.Spec.LoadBalancerSourceRanges),
		AffinitySeconds: affinity(in),
		ExternalIPs:     addrs(in.Spec.ExternalIPs),
		LoadBalancerIPs: loadBalancerIPs(in),
		InternalLocal:   in.Spec.InternalTrafficPolicy != nil && *in.Spec.InternalTrafficPolicy == corev1.ServiceInternalTrafficPolicyLocal,
		ExternalLocal:   in.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal,
		PublishNotReady: in.Spec.PublishNotReadyAddresses,
		Unproxied:       unproxied || headless,
	}
	if in.Spec.Type == corev1.ServiceTypeExternalName {
		out.ExternalName = strings.TrimSuffix(in.Spec.ExternalName, ".")
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

func trimPorts(in []corev1.ServicePort) []snapshot.Port {
	out := make([]snapshot.Port, 0, len(in))
	for _, p := range in {
		out = append(out, snapshot.Port{
			Name: strings.Clone(p.Name), Protocol: protocol(p.Protocol), Port: uint16(p.Port), NodePort: uint16(p.NodePort),
		})
	}
	return out
}

// trimSlice keeps what a node needs; false when the slice names no service or has no addresses.
func trimSlice(in *discoveryv1.EndpointSlice) (*snapshot.Slice, bool) {
	service := in.Labels[discoveryv1.LabelServiceName]
	if service == "" || in.AddressType == discoveryv1.AddressTypeFQDN {
		return nil, false
	}
	out := &snapshot.Slice{
		Namespace: strings.Clone(in.Namespace), Name: strings.Clone(in.Name), Service: strings.Clone(service),
		IPv6: in.AddressType == discoveryv1.AddressTypeIPv6,
	}
	for _, p := range in.Ports {
		if p.Port == nil {
			continue // every port, which no Service can mean
		}
		port := snapshot.SlicePort{Protocol: table.TCP, Port: uint16(*p.Port)}
		if p.Name != nil {
			port.Name = strings.Clone(*p.Name)
		}
		if p.Protocol != nil {
			port.Protocol = protocol(*p.Protocol)
		}
		out.Ports = append(out.Ports, port)
	}
	for i := range in.Endpoints {
		if endpoint, ok := trimEndpoint(&in.Endpoints[i], out.IPv6); ok {
			if endpoint.Target.Namespace == out.Namespace {
				endpoint.Target.Namespace = out.Namespace // one string for all
			}
			if n := len(out.Endpoints); n > 0 && out.Endpoints[n-1].Node == endpoint.Node {
				endpoint.Node = out.Endpoints[n-1].Node
			}
			out.Endpoints = append(out.Endpoints, endpoint)
		}
	}
	return out, true
}

func trimEndpoint(in *discoveryv1.Endpoint, ipv6 bool) (snapshot.Endpoint, bool) {
	out := snapshot.Endpoint{
		Ready:       in.Conditions.Ready == nil || *in.Conditions.Ready,
		Terminating: in.Conditions.Terminating != nil && *in.Conditions.Terminating,
		Hostname:    text(in.Hostname), Node: text(in.NodeName), Zone: text(in.Zone),
	}
	out.Serving = out.Ready
	if in.Conditions.Serving != nil {
		out.Serving = *in.Conditions.Serving
	}
	for _, addr := range addrs(in.Addresses) {
		if addr.Is6() == ipv6 {
			out.Addrs = append(out.Addrs, addr)
		}
	}
	if in.Hints != nil {
		for _, hint := range in.Hints.ForZones {
			out.ZoneHints = append(out.ZoneHints, strings.Clone(hint.Name))
		}
		for _, hint := range in.Hints.ForNodes {
			out.NodeHints = append(out.NodeHints, strings.Clone(hint.Name))
		}
	}
	if in.TargetRef != nil && in.TargetRef.Kind == "Pod" {
		out.Target = table.Object{Kind: "Pod", Namespace: strings.Clone(in.TargetRef.Namespace), Name: strings.Clone(in.TargetRef.Name)}
	}
	return out, len(out.Addrs) > 0
}

func trimNode(in *corev1.Node) *snapshot.Node {
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

// text copies, so that a few bytes do not keep a whole decoded object in memory.
func text(s *string) string {
	if s == nil {
		return ""
	}
	return strings.Clone(*s)
}

func addrs(in []string) []netip.Addr {
	var out []netip.Addr
	for _, s := range in {
		if addr, err := netip.ParseAddr(s); err == nil {
			out = append(out, addr.Unmap())
		}
	}
	return out
}

func prefixes(in []string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range in {
		if prefix, err := netip.ParsePrefix(strings.TrimSpace(s)); err == nil {
			out = append(out, prefix.Masked())
		}
	}
	return out
}

func trimPod(in *corev1.Pod) *snapshot.Pod {
	out := &snapshot.Pod{Namespace: strings.Clone(in.Namespace), Name: strings.Clone(in.Name)}
	for _, ip := range in.Status.PodIPs {
		out.Addrs = append(out.Addrs, addrs([]string{ip.IP})...)
	}
	return out
}
