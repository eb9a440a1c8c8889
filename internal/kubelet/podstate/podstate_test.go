// SPDX-License-Identifier: Apache-2.0

package podstate

import (
	"slices"
	"strings"
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// The container before the newest is kept whenever it is asked: before the newest is made, while it waits to be started, when it runs.
func TestSuperfluousContainers(t *testing.T) {
	states := map[string]runtimeapi.ContainerState{
		"created": runtimeapi.ContainerState_CONTAINER_CREATED, "running": runtimeapi.ContainerState_CONTAINER_RUNNING,
		"exited": runtimeapi.ContainerState_CONTAINER_EXITED,
	}
	for _, test := range []struct {
		newestFirst string
		want        []string // by their places
	}{
		{"", nil},
		{"running", nil},
		{"exited", nil},
		{"exited exited", []string{"1"}},
		{"created exited", nil},
		{"running exited", nil},
		{"created exited exited", []string{"2"}},
		{"running exited exited exited", []string{"2", "3"}},
		{"running created exited", []string{"1"}},
	} {
		s := State{}
		for i, state := range strings.Fields(test.newestFirst) {
			s.Containers = append(s.Containers,
				Container{ID: string(rune('0' + i)), Name: "a", State: states[state]},
				Container{ID: "other", Name: "b", State: states["exited"]})
		}
		if got := s.Superfluous("a"); !slices.Equal(got, test.want) {
			t.Errorf("of %q %q go, want %q", test.newestFirst, got, test.want)
		}
	}
}
