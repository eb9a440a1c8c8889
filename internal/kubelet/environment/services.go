// SPDX-License-Identifier: Apache-2.0

package environment

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// serviceVariables returns NAME_SERVICE_HOST and its kin for the services of the pod's namespace (unless the pod declines), and
// always for the API server's own.
func serviceVariables(pod *corev1.Pod, facts Facts, source Source) map[string]string {
	out := map[string]string{}
	master := facts.MasterNamespace
	if master == "" {
		master = corev1.NamespaceDefault
	}
	for _, s := range source.Services(master) {
		if s.Name == "kubernetes" {
			addService(out, s)
		}
	}
	if links := pod.Spec.EnableServiceLinks; links != nil && !*links {
		return out
	}
	for _, s := range source.Services(pod.Namespace) {
		addService(out, s)
	}
	return out
}

func addService(out map[string]string, s *corev1.Service) {
	if s.Spec.ClusterIP == "" || s.Spec.ClusterIP == corev1.ClusterIPNone || len(s.Spec.Ports) == 0 {
		return
	}
	prefix := strings.ToUpper(strings.ReplaceAll(s.Name, "-", "_"))
	out[prefix+"_SERVICE_HOST"] = s.Spec.ClusterIP
	out[prefix+"_SERVICE_PORT"] = strconv.Itoa(int(s.Spec.Ports[0].Port))
	for i, p := range s.Spec.Ports {
		port := strconv.Itoa(int(p.Port))
		if p.Name != "" {
			out[prefix+"_SERVICE_PORT_"+strings.ToUpper(strings.ReplaceAll(p.Name, "-", "_"))] = port
		}
		proto := p.Protocol
		if proto == "" {
			proto = corev1.ProtocolTCP
		}
		url := strings.ToLower(string(proto)) + "://" + net.JoinHostPort(s.Spec.ClusterIP, port)
		if i == 0 {
			out[prefix+"_PORT"] = url
		}
		link := fmt.Sprintf("%s_PORT_%s_%s", prefix, port, strings.ToUpper(string(proto)))
		out[link] = url
		out[link+"_PROTO"] = strings.ToLower(string(proto))
		out[link+"_PORT"] = port
		out[link+"_ADDR"] = s.Spec.ClusterIP
	}
}
