// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"eastwest/internal/kubelet/apidouble"
)

// perNamespace is how many services a namespace has.
const perNamespace = 100

func serviceOf(i int) (namespace, name, ip string) {
	return fmt.Sprint("ns-", i/perNamespace), fmt.Sprint("service-", i), fmt.Sprintf("10.%d.%d.%d", 96+i>>16, i>>8&255, i&255)
}

// serveAPI serves an API with so many services.
func serveAPI(services, endpoints int) (*apidouble.Server, error) {
	api, err := apidouble.New()
	if err != nil {
		return nil, err
	}
	for i := range services {
		namespace, name, ip := serviceOf(i)
		if i%perNamespace == 0 {
			api.Put("namespaces", &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
		}
		api.Put("services", &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
			Spec: corev1.ServiceSpec{ClusterIP: ip, ClusterIPs: []string{ip}, Ports: []corev1.ServicePort{
				{Name: "http", Protocol: corev1.ProtocolTCP, Port: 80},
			}},
		})
		if endpoints > 0 {
			api.Put("endpointslices", sliceOf(namespace, name, i, endpoints))
		}
	}
	return api, nil
}

func sliceOf(namespace, name string, service, endpoints int) *discoveryv1.EndpointSlice {
	port, proto, portName := int32(8080), corev1.ProtocolTCP, "http"
	s := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: namespace, Name: name + "-x", Labels: map[string]string{discoveryv1.LabelServiceName: name}},
		AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Name: &portName, Protocol: &proto, Port: &port}},
	}
	for i := range endpoints {
		n := service*endpoints + i
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{fmt.Sprintf("10.%d.%d.%d", 128+n>>16, n>>8&255, n&255)},
			TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: namespace, Name: fmt.Sprint(name, "-", i)},
		})
	}
	return s
}

// files writes what the servers are started with.
func (o *options) files(api string) error {
	zone, outside := new(strings.Builder), new(strings.Builder)
	const soa = "@ 30 IN SOA ns.dns hostmaster 1 7200 1800 86400 5\n@ 30 IN NS ns.dns\nns.dns 30 IN A 127.0.0.1\n"
	fmt.Fprintf(zone, "$ORIGIN cluster.local.\n%s", soa)
	for i := range o.services {
		namespace, name, ip := serviceOf(i)
		fmt.Fprintf(zone, "%s.%s.svc 30 IN A %s\n", name, namespace, ip)
	}
	fmt.Fprintf(outside, "$ORIGIN example.com.\n%s* 3600 IN A 192.0.2.1\n", soa)
	for name, text := range map[string]string{
		"cluster.zone": zone.String(),
		"outside.zone": outside.String(),
		"knot.conf": fmt.Sprintf(`server:
    listen: 127.0.0.1@%d
    rundir: %s
database:
    storage: %s
zone:
  - domain: cluster.local
    file: %s/cluster.zone
  - domain: example.com
    file: %s/outside.zone
`, knotPort, o.dir, o.dir, o.dir, o.dir),
		"Corefile": fmt.Sprintf(`.:%d {
    bind 127.0.0.1
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        endpoint %s
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
        ttl 30
    }
    forward . 127.0.0.1:%d
    cache 30 {
        disable success cluster.local
        disable denial cluster.local
    }
}
`, corePort, api, knotPort),
		"kubeconfig": fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: bench, cluster: {server: %q}}]
contexts: [{name: bench, context: {cluster: bench}}]
current-context: bench
`, api),
	} {
		if err := os.WriteFile(filepath.Join(o.dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}
