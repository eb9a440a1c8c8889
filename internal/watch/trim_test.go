// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// Source ranges are read in every form that API servers ever stored. Where none can be read nobody is let in: a range that is
// written wrongly must not open a Service to everybody.
func TestSourceRanges(t *testing.T) {
	for _, test := range []struct {
		given []string
		want  []string // nil is everyone
	}{
		{nil, nil},
		{[]string{" 10.1.0.0/16 ", "fd00::/8"}, []string{"10.1.0.0/16", "fd00::/8"}},
		{[]string{"010.1.2.3/8"}, []string{"10.0.0.0/8"}},
		{[]string{"::ffff:192.0.2.0/120"}, []string{"192.0.2.0/24"}},
		{[]string{"192.0.2.7/32", "everybody"}, []string{"192.0.2.7/32"}},
		{[]string{"everybody"}, []string{}},
		{[]string{"10.0.0.0/33", "10.0.0.0", "/8", ""}, []string{}},
	} {
		got := trimService(&corev1.Service{Spec: corev1.ServiceSpec{LoadBalancerSourceRanges: test.given}}, interned{}).SourceRanges
		if (got == nil) != (test.want == nil) || len(got) != len(test.want) {
			t.Errorf("%q: %v, want %v", test.given, got, test.want)
			continue
		}
		for i, want := range test.want {
			if got[i] != netip.MustParsePrefix(want) {
				t.Errorf("%q: %v, want %v", test.given, got, test.want)
			}
		}
	}
}

// Addresses with leading zeros are decimal, as the API server that stored them took them; what is of another family than its
// slice is left out.
func TestAddressesOfSlices(t *testing.T) {
	in := slice()
	in.Endpoints = nil
	for _, addr := range []string{"010.244.0.9", "::ffff:10.244.0.8", "fd00::1", "pod"} {
		in.Endpoints = append(in.Endpoints, discoveryv1.Endpoint{Addresses: []string{addr}})
	}
	out, ok := trimSlice(&in, interned{})
	if !ok || len(out.Endpoints) != 2 || out.Endpoints[0].Addrs[0] != netip.MustParseAddr("10.244.0.9") ||
		out.Endpoints[1].Addrs[0] != netip.MustParseAddr("10.244.0.8") {
		t.Errorf("endpoints: %+v", out)
	}
}

// Conditions that a slice does not name have the meaning that the API gives them.
func TestConditionsOfEndpoints(t *testing.T) {
	yes, no := true, false
	for name, test := range map[string]struct {
		in                          discoveryv1.EndpointConditions
		ready, serving, terminating bool
	}{
		"none":                        {discoveryv1.EndpointConditions{}, true, true, false},
		"not ready":                   {discoveryv1.EndpointConditions{Ready: &no, Serving: &no}, false, false, false},
		"terminating, serving unsaid": {discoveryv1.EndpointConditions{Ready: &no, Terminating: &yes}, false, true, true},
		"terminating, not serving":    {discoveryv1.EndpointConditions{Ready: &no, Serving: &no, Terminating: &yes}, false, false, true},
	} {
		in := slice()
		in.Endpoints = []discoveryv1.Endpoint{{Addresses: []string{"10.244.0.2"}, Conditions: test.in}}
		out, ok := trimSlice(&in, interned{})
		if !ok || len(out.Endpoints) != 1 {
			t.Errorf("%s: %+v", name, out)
			continue
		}
		if e := out.Endpoints[0]; e.Ready != test.ready || e.Serving != test.serving || e.Terminating != test.terminating {
			t.Errorf("%s: ready %v, serving %v, terminating %v", name, e.Ready, e.Serving, e.Terminating)
		}
	}
}
