// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"eastwest/internal/explain"
	"eastwest/internal/tool/request"
	"eastwest/internal/tool/resolve"
)

func TestManifestsAreThoseOfTheTexts(t *testing.T) {
	m, err := parseManifests("default")
	if err != nil {
		t.Fatal(err)
	}
	port := m.service.Spec.Ports[0]
	got := []any{m.deployment.Name, *m.deployment.Spec.Replicas, m.service.Name, m.service.Spec.Selector["app"], port.Port, port.TargetPort.IntValue()}
	want := []any{"nginx-deployment", int32(3), "nginx-service-clusterip", "nginx", int32(30050), 80}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if client := m.clientOn("node-a"); client.Name != "demo-client-node-a" || client.Spec.NodeName != "node-a" || m.client.Name != "" {
		t.Errorf("client pod %s on %s", client.Name, client.Spec.NodeName)
	}
}

func TestRolledOut(t *testing.T) {
	done := appsv1.DeploymentStatus{ObservedGeneration: 2, Replicas: 3, UpdatedReplicas: 3, AvailableReplicas: 3}
	three := int32(3)
	for name, c := range map[string]struct {
		change func(*appsv1.DeploymentStatus)
		want   bool
	}{
		"done":               {func(*appsv1.DeploymentStatus) {}, true},
		"not seen yet":       {func(s *appsv1.DeploymentStatus) { s.ObservedGeneration = 1 }, false},
		"old pods left":      {func(s *appsv1.DeploymentStatus) { s.Replicas = 4 }, false},
		"not all available":  {func(s *appsv1.DeploymentStatus) { s.AvailableReplicas = 2 }, false},
		"not all up to date": {func(s *appsv1.DeploymentStatus) { s.UpdatedReplicas = 2 }, false},
	} {
		status := done
		c.change(&status)
		d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Generation: 2}, Spec: appsv1.DeploymentSpec{Replicas: &three}, Status: status}
		if got := rolledOut(d); got != c.want {
			t.Errorf("%s: rolled out is %v, want %v", name, got, c.want)
		}
	}
}

// observed is what a healthy cluster of two nodes shows to the client on node-a.
func observed() (*observer, *Client) {
	pod := func(name, node, address string) corev1.Pod {
		return corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{NodeName: node}, Status: corev1.PodStatus{PodIP: address}}
	}
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "nginx"}}
	service.Spec.ClusterIP, service.Spec.Ports = "10.96.0.20", []corev1.ServicePort{{Port: 30050}}
	client := pod("demo-client-node-a", "node-a", "10.244.0.9")
	o := &observer{service: service, pod: &client,
		servers: []corev1.Pod{pod("nginx-1", "node-a", "10.244.0.2"), pod("nginx-2", "node-b", "10.244.1.2")},
		nodes:   []corev1.Node{{ObjectMeta: metav1.ObjectMeta{Name: "node-b"}, Spec: corev1.NodeSpec{PodCIDR: "10.244.1.0/24"}}},
	}
	return o, &Client{
		Pod: client.Name, Node: "node-a", Address: "10.244.0.9",
		DNS: &resolve.Answer{Server: "10.96.0.10:53", Records: []resolve.Record{{Name: "nginx.default.svc.cluster.local.", Type: "A", Data: "10.96.0.20"}}},
		Requests: &request.Report{Target: "http://nginx:30050/", Requests: 30, Hosts: map[string]int{"nginx-1": 14, "nginx-2": 16},
			Clients: map[string]int{"10.244.0.9": 30}},
		Path: &explain.Path{From: explain.Source{Kind: explain.FromPod, Address: "10.244.0.9"}, To: "10.96.0.20:30050/tcp",
			Service: &explain.Service{Label: "default/nginx", Table: "ip eastwest", Map: "service-ip", Action: "forward", Endpoints: 2},
			Targets: []explain.Target{{Address: "10.244.0.2:80"}, {Address: "10.244.1.2:80", Via: "172.18.0.3", Device: "eth0", Route: "10.244.1.0/24"}}},
	}
}

func TestProblemsAreTold(t *testing.T) {
	for name, c := range map[string]struct {
		breaks func(*Client)
		want   string
	}{
		"healthy":          {func(*Client) {}, ""},
		"missing route":    {func(c *Client) { c.Path.Targets[1].Missing = "10.244.1.0/24" }, "node node-a has no route to 10.244.1.0/24, the pods of node node-b"},
		"unknown network":  {func(c *Client) { c.Path.Targets[1].Missing = "10.244.7.0/24" }, "the pods of no node that the API knows"},
		"no rule":          {func(c *Client) { c.Path.Service = nil }, "no rule on node node-a takes packets to Service nginx"},
		"endpoint lacking": {func(c *Client) { c.Path.Service.Endpoints = 1 }, "node node-a knows 1 endpoints of Service nginx, which has 2"},
		"no name":          {func(c *Client) { c.DNS.Records = nil }, "the name nginx does not resolve"},
		"wrong address":    {func(c *Client) { c.DNS.Records[0].Data = "10.96.0.21" }, "resolves to [10.96.0.21], not to 10.96.0.20"},
		"time-outs":        {func(c *Client) { c.Requests.Errors = map[string]int{"timed out": 11} }, "11 of 30 requests failed: timed out"},
		"stranger":         {func(c *Client) { c.Requests.Hosts["httpd"] = 1 }, "httpd answered, which is no pod of the Service"},
		"translated":       {func(c *Client) { c.Requests.Clients = map[string]int{"172.18.0.2": 30} }, "servers saw the client as 172.18.0.2"},
	} {
		o, client := observed()
		c.breaks(client)
		o.checkPath(client)
		o.checkDNS(client)
		o.checkRequests(client)
		report := newReport(o.service, o.servers)
		report.Clients = []Client{*client}
		got := strings.Join(report.Problems(), "\n")
		if c.want == "" && got != "" || !strings.Contains(got, c.want) || !strings.Contains(report.String(), c.want) {
			t.Errorf("%s: problems %q, want %q", name, got, c.want)
		}
	}
}

func TestReportText(t *testing.T) {
	o, client := observed()
	report := newReport(o.service, o.servers)
	report.Clients = []Client{*client}
	text := report.String()
	for _, part := range []string{
		"Service default/nginx at 10.96.0.20:30050", "From pod demo-client-node-a (10.244.0.9) on node node-a",
		"nginx.default.svc.cluster.local. → A 10.96.0.20 (answered by 10.96.0.10:53)", "30 answered, 0 failed",
		"  14       nginx-1  node-a", "route 10.244.1.0/24 via 172.18.0.3 dev eth0",
	} {
		if !strings.Contains(text, part) {
			t.Errorf("the report lacks %q:\n%s", part, text)
		}
	}
}
