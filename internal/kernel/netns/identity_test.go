// SPDX-License-Identifier: Apache-2.0

package netns_test

import (
	"testing"

	"eastwest/internal/kernel/netns"
	"eastwest/internal/kernel/netns/netnstest"
)

// A namespace has one name as long as it is there, from inside and outside, and no other namespace has it.
func TestIdentity(t *testing.T) {
	name := func(path string) string {
		t.Helper()
		name, err := netns.Identity(path)
		if err != nil || name == "" {
			t.Fatalf("%q, %v", name, err)
		}
		return name
	}
	a, b := netnstest.New(t), netnstest.New(t)
	if name(a) != name(a) || name("") != name("/proc/self/ns/net") {
		t.Error("one namespace has two names")
	}
	if name(a) == name(b) || name(a) == name("") {
		t.Error("two namespaces have one name")
	}
}
