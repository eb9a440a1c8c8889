// SPDX-License-Identifier: Apache-2.0

package ocispec

import (
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// A kubelet limits huge pages of every size, to 0 for pods that ask for none; where they cannot be limited, a container must start all the same.
func TestHugePageLimitsNeedTheirController(t *testing.T) {
	limits := &runtimeapi.LinuxContainerResources{HugepageLimits: []*runtimeapi.HugepageLimit{{PageSize: "2MB"}, {PageSize: "1GB", Limit: 1 << 30}}}
	if got := Resources(limits, Node{}).HugepageLimits; got != nil {
		t.Errorf("without the controller: %v", got)
	}
	if got := Resources(limits, Node{HugePages: true}).HugepageLimits; len(got) != 2 || got[1].Limit != 1<<30 {
		t.Errorf("with it: %v", got)
	}
}
