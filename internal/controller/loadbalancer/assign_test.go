// SPDX-License-Identifier: Apache-2.0

package loadbalancer

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"eastwest/internal/addressplan"
)

func pool(t interface{ Fatal(...any) }, texts ...string) []addressplan.Range {
	var out []addressplan.Range
	for _, text := range texts {
		r, err := addressplan.ParseRange(text)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, r)
	}
	return out
}

// balancer makes a Service; age is larger for older ones.
func balancer(name string, age int, change ...func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: name, UID: types.UID(name), CreationTimestamp: metav1.NewTime(time.Unix(int64(1000-age), 0)),
		},
		Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol}},
	}
	for _, c := range change {
		c(s)
	}
	return s
}

func has(addresses ...string) func(*corev1.Service) {
	return func(s *corev1.Service) {
		for _, a := range addresses {
			s.Status.LoadBalancer.Ingress = append(s.Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{IP: a})
		}
		meta.SetStatusCondition(&s.Status.Conditions, metav1.Condition{Type: Condition, Status: metav1.ConditionTrue, Reason: "Assigned"})
	}
}

func asks(address string) func(*corev1.Service) {
	return func(s *corev1.Service) { s.Spec.LoadBalancerIP = address }
}

func class(name string) func(*corev1.Service) {
	return func(s *corev1.Service) { s.Spec.LoadBalancerClass = &name }
}

func plain(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeClusterIP }

func dual(policy corev1.IPFamilyPolicy) func(*corev1.Service) {
	return func(s *corev1.Service) {
		s.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}
		s.Spec.IPFamilyPolicy = &policy
	}
}

func foreign(address string) func(*corev1.Service) {
	return func(s *corev1.Service) {
		s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: address}}
	}
}

func TestAssign(t *testing.T) {
	small, both := []string{"192.0.2.1-192.0.2.2"}, []string{"192.0.2.1-192.0.2.9", "2001:db8::1-2001:db8::9"}
	for _, test := range []struct {
		name     string
		pool     []string
		services []*corev1.Service
		want     string // service=addresses or service!error, by age
	}{
		{"the lowest free one", small, []*corev1.Service{balancer("new", 1), balancer("old", 2, has("192.0.2.1"))}, "old=192.0.2.1 new=192.0.2.2"},
		{"older ones first", small, []*corev1.Service{balancer("b", 1), balancer("a", 1), balancer("c", 9)}, "c=192.0.2.1 a=192.0.2.2 b!in use"},
		{"one that it asks for", small, []*corev1.Service{balancer("a", 1, asks("192.0.2.2"))}, "a=192.0.2.2"},
		{"asks for another's", small, []*corev1.Service{balancer("a", 2, has("192.0.2.2")), balancer("b", 1, asks("192.0.2.2"))}, "a=192.0.2.2 b!in use by another"},
		{"asks outside the pool", small, []*corev1.Service{balancer("a", 1, asks("192.0.2.77"))}, "a!not in the pool"},
		{"asks for another than it has", small, []*corev1.Service{balancer("a", 1, has("192.0.2.1"), asks("192.0.2.2"))}, "a=192.0.2.2"},
		{"no longer a load balancer", small, []*corev1.Service{balancer("a", 1, has("192.0.2.1"), plain)}, "a="},
		{"never was one", small, []*corev1.Service{balancer("a", 1, plain)}, ""},
		{"of another class", small, []*corev1.Service{balancer("a", 1, class("example.com/lb"))}, ""},
		{"of our class", small, []*corev1.Service{balancer("a", 1, class(Class))}, "a=192.0.2.1"},
		{"another class has one of ours", small, []*corev1.Service{balancer("a", 2, class("example.com/lb"), foreign("192.0.2.1")), balancer("b", 1)}, "b=192.0.2.2"},
		{"two with one address", small, []*corev1.Service{balancer("a", 1, has("192.0.2.1")), balancer("b", 2, has("192.0.2.1"))}, "b=192.0.2.1 a=192.0.2.2"},
		{"the pool moved", []string{"198.51.100.0/30"}, []*corev1.Service{balancer("a", 1, has("192.0.2.1"))}, "a=198.51.100.0"},
		{"both families", both, []*corev1.Service{balancer("a", 1, dual(corev1.IPFamilyPolicyRequireDualStack))}, "a=192.0.2.1,2001:db8::1"},
		{"both where there are both", small, []*corev1.Service{balancer("a", 1, dual(corev1.IPFamilyPolicyPreferDualStack))}, "a=192.0.2.1"},
		{"both or none", small, []*corev1.Service{balancer("a", 1, dual(corev1.IPFamilyPolicyRequireDualStack))}, "a!no IPv6 address"},
		{"a family came", both, []*corev1.Service{balancer("a", 1, dual(corev1.IPFamilyPolicyPreferDualStack), has("192.0.2.1"))}, "a=192.0.2.1,2001:db8::1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var have []string
			for _, a := range assign(test.services, pool(t, test.pool...)) {
				if a.err != nil {
					if _, want, ok := strings.Cut(test.want, "!"); !ok || !strings.Contains(a.err.Error(), want) {
						t.Errorf("%s: error %q", a.service.Name, a.err)
					}
					have = append(have, a.service.Name+"!")
					continue
				}
				have = append(have, a.service.Name+"="+join(a.addresses))
			}
			want, _, failed := strings.Cut(test.want, "!")
			if failed {
				want += "!"
			}
			if got := strings.Join(have, " "); got != want {
				t.Errorf("assigned %q, want %q", got, want)
			}
		})
	}
}

func join(addresses []netip.Addr) string {
	texts := make([]string, len(addresses))
	for i, a := range addresses {
		texts[i] = a.String()
	}
	return strings.Join(texts, ",")
}

// However Services come, go and change: no address is given twice, none outside the pool, what a Service has it keeps, and
// nobody waits while an address is free.
func TestAssignKeepsItsPromises(t *testing.T) {
	ranges := pool(t, "192.0.2.1-192.0.2.4")
	rapid.Check(t, func(t *rapid.T) {
		services := map[string]*corev1.Service{}
		for step := range rapid.IntRange(1, 30).Draw(t, "steps") {
			name := fmt.Sprint("s", rapid.IntRange(0, 7).Draw(t, "service"))
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0:
				delete(services, name)
			case 1:
				if s := services[name]; s != nil {
					plain(s)
				}
			case 2:
				if s := services[name]; s != nil {
					s.Spec.LoadBalancerIP = fmt.Sprint("192.0.2.", rapid.IntRange(0, 5).Draw(t, "asks"))
				}
			default:
				if services[name] == nil {
					services[name] = balancer(name, rapid.IntRange(0, 3).Draw(t, "age"))
				}
				services[name].Spec.Type = corev1.ServiceTypeLoadBalancer
			}
			check(t, step, services, ranges)
		}
	})
}

func check(t *rapid.T, step int, services map[string]*corev1.Service, ranges []addressplan.Range) {
	var all []*corev1.Service
	before := map[string]string{}
	for _, s := range services {
		all = append(all, s)
		before[s.Name] = join(held(s))
	}
	holders, waiting := map[netip.Addr]string{}, 0
	for _, a := range assign(all, ranges) {
		s := a.service
		if a.err != nil && s.Spec.LoadBalancerIP == "" {
			waiting++
		}
		for _, address := range a.addresses {
			if other := holders[address]; other != "" || !within(ranges, address) {
				t.Fatalf("step %d: %s got %s, which %q has", step, s.Name, address, other)
			}
			holders[address] = s.Name
		}
		if had(s) && ours(s) && s.Spec.LoadBalancerIP == "" && join(a.addresses) != before[s.Name] {
			t.Fatalf("step %d: %s had %s and got %v", step, s.Name, before[s.Name], a.addresses)
		}
		s.Status = corev1.ServiceStatus{}
		if len(a.addresses) > 0 {
			has(strings.Split(join(a.addresses), ",")...)(s)
		}
	}
	if waiting > 0 && len(holders) < 4 {
		t.Fatalf("step %d: %d wait while only %v are taken", step, waiting, holders)
	}
}
