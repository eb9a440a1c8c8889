// SPDX-License-Identifier: Apache-2.0

package criclient

import (
	"slices"
	"testing"
)

func TestPrimaryFamilyFirst(t *testing.T) {
	for _, test := range []struct {
		ipv6       bool
		have, want []string
	}{
		{false, []string{"10.244.0.2", "fd00::2"}, []string{"10.244.0.2", "fd00::2"}},
		{true, []string{"10.244.0.2", "fd00::2"}, []string{"fd00::2", "10.244.0.2"}},
		{false, []string{"fd00::2", "10.244.0.2"}, []string{"10.244.0.2", "fd00::2"}},
		{true, []string{"10.244.0.2"}, []string{"10.244.0.2"}},
		{true, nil, nil},
	} {
		if got := primaryFirst(slices.Clone(test.have), test.ipv6); !slices.Equal(got, test.want) {
			t.Errorf("of %v, IPv6 first %v: %v, want %v", test.have, test.ipv6, got, test.want)
		}
	}
}
