// SPDX-License-Identifier: Apache-2.0

package pod

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
)

// asking is a pod that runs, NAME=CPU/MEMORY, with its class and priority.
func asking(text string, class corev1.PodQOSClass, priority int32) View {
	name, amounts, _ := strings.Cut(text, "=")
	cpu, memory, _ := strings.Cut(amounts, "/")
	p := &corev1.Pod{Spec: corev1.PodSpec{Priority: &priority, Containers: []corev1.Container{{}}}}
	p.Name, p.UID, p.Status.QOSClass = name, types.UID(name), class
	if cpu != "" {
		p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
	}
	return View{Pod: p, Admitted: true}
}

func TestVictims(t *testing.T) {
	const best, middle, least = corev1.PodQOSGuaranteed, corev1.PodQOSBurstable, corev1.PodQOSBestEffort
	refused := asking("refused=4/4Gi", middle, 0)
	refused.Admitted = false
	for _, test := range []struct {
		name    string
		others  []View
		missing []shortage
		want    []string // nil: there are none
	}{
		{"one is enough", []View{asking("a=1/1Gi", middle, 0), asking("b=2/1Gi", middle, 0)}, []shortage{{"cpu", 2000, 2000, 2000}}, []string{"b"}},
		{"of those that are enough, the smaller", []View{asking("a=3/2Gi", middle, 0), asking("b=3/1Gi", middle, 0)}, []shortage{{"cpu", 1000, 2000, 2000}}, []string{"b"}},
		{"rather two of the worse class", []View{asking("a=2/1Gi", best, 0), asking("b=1/1Gi", middle, 0), asking("c=1/1Gi", middle, 0)},
			[]shortage{{"cpu", 2000, 2000, 2000}}, []string{"b", "c"}},
		{"of the better class what the worse lacks", []View{asking("a=2/1Gi", best, 0), asking("b=1/1Gi", middle, 0), asking("c=3/1Gi", best, 0)},
			[]shortage{{"cpu", 3000, 3000, 3000}}, []string{"a", "b"}},
		{"both resources at once", []View{asking("a=1/1Gi", middle, 0), asking("b=0/2Gi", middle, 0), asking("c=2/2Gi", middle, 0)},
			[]shortage{{"cpu", 1000, 2000, 2000}, {"memory", 2 << 30, 4 << 30, 4 << 30}}, []string{"c"}},
		{"pods are a resource", []View{asking("a=1/1Gi", middle, 0), asking("b=", least, 0)}, []shortage{{"pods", 1, 2, 2}}, []string{"b"}},
		{"less critical", []View{asking("a=2/1Gi", middle, 2_000_000_000)}, []shortage{{"cpu", 1000, 2000, 2000}}, []string{"a"}},
		{"as critical", []View{asking("a=2/1Gi", middle, 2_000_001_000)}, []shortage{{"cpu", 1000, 2000, 2000}}, nil},
		{"that has ended", []View{refused}, []shortage{{"cpu", 1000, 2000, 2000}}, nil},
		{"all together too little", []View{asking("a=1/1Gi", middle, 0)}, []shortage{{"cpu", 2000, 2000, 2000}}, nil},
	} {
		critical := asking("critical=1/1Gi", best, 2_000_001_000)
		chosen, err := victims(critical.Pod, test.others, test.missing)
		var got []string
		for _, v := range chosen {
			got = append(got, v.Pod.Name)
		}
		slices.Sort(got)
		if !slices.Equal(got, test.want) || (err != nil) != (test.want == nil) {
			t.Errorf("%s: %q, %v; want %q", test.name, got, err, test.want)
		}
	}
}

func TestHostPortsCollide(t *testing.T) {
	port := func(number int32, protocol corev1.Protocol, ip string) corev1.ContainerPort {
		return corev1.ContainerPort{HostPort: number, Protocol: protocol, HostIP: ip}
	}
	always := corev1.ContainerRestartPolicyAlways
	for _, test := range []struct {
		name string
		a, b corev1.PodSpec
		want bool
	}{
		{"none", corev1.PodSpec{Containers: []corev1.Container{{Ports: []corev1.ContainerPort{{ContainerPort: 80}}}}},
			corev1.PodSpec{Containers: []corev1.Container{{Ports: []corev1.ContainerPort{{ContainerPort: 80}}}}}, false},
		{"the same", one(port(80, "TCP", "")), one(port(80, "", "0.0.0.0")), true},
		{"another protocol", one(port(53, "TCP", "")), one(port(53, "UDP", "")), false},
		{"addresses of their own", one(port(80, "TCP", "192.0.2.1")), one(port(80, "TCP", "192.0.2.2")), false},
		{"one of all addresses", one(port(80, "TCP", "192.0.2.1")), one(port(80, "TCP", "::")), true},
		{"a sidecar's", one(port(80, "TCP", "")), corev1.PodSpec{InitContainers: []corev1.Container{{RestartPolicy: &always, Ports: []corev1.ContainerPort{port(80, "TCP", "")}}}}, true},
		{"an init container's", one(port(80, "TCP", "")), corev1.PodSpec{InitContainers: []corev1.Container{{Ports: []corev1.ContainerPort{port(80, "TCP", "")}}}}, false},
	} {
		if got := collide(hostPorts(&corev1.Pod{Spec: test.a}), hostPorts(&corev1.Pod{Spec: test.b})); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}

func one(ports ...corev1.ContainerPort) corev1.PodSpec {
	return corev1.PodSpec{Containers: []corev1.Container{{Ports: ports}}}
}
