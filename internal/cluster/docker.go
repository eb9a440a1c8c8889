// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"encoding/json"
	"path/filepath"

	"golang.org/x/sys/unix"

	"eastwest/internal/cluster/machine"
)

// dockerRuntime is Docker as Debian has it, behind cri-dockerd, which speaks CRI for it.
func dockerRuntime() criRuntime {
	const socket, shim = "/run/docker.sock", "/run/cri-dockerd.sock"
	return criRuntime{
		endpoint: "unix://" + shim,
		programs: []hostProgram{
			{"dockerd", "docker.io"}, {"docker", "docker.io"}, {"containerd", "containerd"},
			{"containerd-shim-runc-v2", "containerd"}, {"runc", "runc"},
			{"cri-dockerd", "github.com/Mirantis/cri-dockerd"},
		},
		parts: []runtimePart{
			// A process of its own: one that dockerd starts dies with it, and may be in the next one's way.
			{name: "containerd", command: containerdCommand()},
			{name: "dockerd", needs: containerdSocket, command: []string{"sh", "-c", startDockerd}},
			{name: "cri-dockerd", needs: socket, command: []string{
				"cri-dockerd", "--container-runtime-endpoint", "unix://" + shim, "--docker-endpoint", "unix://" + socket,
				"--network-plugin", "cni", "--cni-conf-dir", "/etc/cni/net.d", "--cni-bin-dir", "/opt/cni/bin",
				"--pod-infra-container-image", pauseImage, "--streaming-bind-addr", "127.0.0.1:0",
			}},
		},
		files: func(r *Record) map[string]string {
			files := map[string]string{"docker.json": dockerConfig(r), containerdFile: containerdConfig(r)}
			if !mayLowerOOMScore() {
				files[patientRunc] = patientRuncScript
			}
			return files
		},
	}
}

// startDockerd removes the file by which a killed dockerd, a zombie maybe, keeps the next one from starting; ours does not run now.
const startDockerd = "rm -f /run/docker.pid && exec dockerd --config-file " + machine.StateMount + "/docker.json"

// Docker gives sandboxes a lower oom_score_adj than its own, and has no switch against it. Where the host's processes lack
// CAP_SYS_RESOURCE, this script asks runc for no lower one than ours.
const (
	patientRunc       = "docker-runc"
	patientRuncScript = `#!/bin/sh
bundle= before=
for word; do
	case $before in -b | --bundle) bundle=$word ;; esac
	before=$word
done
if [ -n "$bundle" ]; then
	sed -i "s/\"oomScoreAdj\":-[0-9]*/\"oomScoreAdj\":$(cat /proc/self/oom_score_adj)/" "$bundle/config.json"
fi
exec runc "$@"
`
)

func mayLowerOOMScore() bool {
	has, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, unix.CAP_SYS_RESOURCE, 0, 0, 0)
	return err == nil && has == 1
}

// dockerConfig leaves the network to CNI: Docker's own bridge and its rules would be in the way.
func dockerConfig(r *Record) string {
	config := map[string]any{
		"hosts": []string{"unix:///run/docker.sock"}, "containerd": containerdSocket, "bridge": "none", "iptables": false, "ip6tables": false, "ip-forward": false,
		"exec-opts": []string{"native.cgroupdriver=cgroupfs"}, "live-restore": true,
		"log-opts": map[string]string{"max-size": "10m", "max-file": "5"}, "oom-score-adjust": 0,
	}
	if !mayLowerOOMScore() {
		config["runtimes"] = map[string]any{"patient": map[string]string{"path": filepath.Join(machine.StateMount, patientRunc)}}
		config["default-runtime"] = "patient"
	}
	if mirrors := mirrorsOf(r.Mirrors)["docker.io"]; len(mirrors) > 0 {
		config["registry-mirrors"] = mirrors // it has them for this registry alone
	}
	text, _ := json.Marshal(config) // strings, numbers and booleans
	return string(text)
}
