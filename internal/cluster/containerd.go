// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"eastwest/internal/cluster/machine"
)

const (
	containerdSocket = "/run/containerd/containerd.sock"
	containerdFile   = "containerd.toml"
)

func containerdCommand() []string {
	return []string{"containerd", "-c", filepath.Join(machine.StateMount, containerdFile)}
}

// containerdRuntime is containerd as Debian has it, with runc.
func containerdRuntime() criRuntime {
	return criRuntime{
		endpoint: "unix://" + containerdSocket,
		programs: []hostProgram{{"containerd", "containerd"}, {"containerd-shim-runc-v2", "containerd"}, {"ctr", "containerd"}, {"runc", "runc"}},
		parts:    []runtimePart{{name: "containerd", command: containerdCommand()}},
		files:    func(r *Record) map[string]string { return map[string]string{containerdFile: containerdConfig(r)} },
	}
}

// containerdConfig is version 2 of containerd's configuration, which 1.6 and later read. A node's processes may not lower their
// oom_score_adj where the host's do not have CAP_SYS_RESOURCE.
func containerdConfig(r *Record) string {
	var b strings.Builder
	fmt.Fprintf(&b, `version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs"]
[grpc]
address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = %q
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/opt/cni/bin"
conf_dir = "/etc/cni/net.d"
[plugins."io.containerd.grpc.v1.cri".containerd]
default_runtime_name = "runc"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
`, pauseImage)
	mirrors := mirrorsOf(r.Mirrors)
	for _, registry := range slices.Sorted(maps.Keys(mirrors)) {
		fmt.Fprintf(&b, "[plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.%q]\nendpoint = [", registry)
		for _, url := range mirrors[registry] {
			fmt.Fprintf(&b, "%q, ", url)
		}
		b.WriteString("]\n")
	}
	return b.String()
}
