// SPDX-License-Identifier: Apache-2.0

package cri

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"eastwest/internal/cri/cgroup"
	"eastwest/internal/cri/ocispec"
)

// readNode finds out what this process may give to containers.
func readNode(h *cgroup.Hierarchy) (ocispec.Node, error) {
	node := ocispec.Node{UnifiedCgroups: h.Unified(), SwapAccounting: h.SwapAccounting(), HugePages: h.Has("hugetlb")}
	raw, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		return node, fmt.Errorf("read our oom_score_adj: %w", err)
	}
	own, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil {
		return node, fmt.Errorf("read our oom_score_adj: %w", err)
	}
	node.OOMScoreAdj = own
	for number, name := range ocispec.KnownCapabilities() {
		has, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, uintptr(number), 0, 0, 0)
		if err == nil && has == 1 {
			node.Capabilities = append(node.Capabilities, name)
		}
		if name == "CAP_SYS_RESOURCE" && has == 1 {
			node.OOMScoreAdj = -1000 // may lower it below our own
		}
	}
	return node, nil
}
