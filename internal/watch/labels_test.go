// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"testing"

	discoveryv1 "k8s.io/api/discovery/v1"
)

// A slice that another proxy serves, or none because its Service is headless, is known and not proxied.
func TestSlicesThatAreNotProxied(t *testing.T) {
	for label, want := range map[string]bool{"": false, discoveryv1.LabelManagedBy: false, labelProxyName: true, "service.kubernetes.io/headless": true} {
		in := slice()
		in.Labels[label] = ""
		out, ok := trimSlice(&in, interned{})
		if !ok || out.Unproxied != want {
			t.Errorf("a slice with label %q: %v, not proxied: %v", label, ok, out.Unproxied)
		}
	}
}
