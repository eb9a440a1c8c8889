// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"encoding/json"
	"path/filepath"

	"eastwest/internal/cluster/machine"
)

// dockerRuntime is Docker as Debian has it, behind cri-dockerd, which speaks CRI for it.
func dockerRuntime() criRuntime {
	const socket, shim = "/run/docker.sock", "/run/cri-dockerd.sock"
	return criRuntime{
		endpoint: "unix://" + shim,
		programs: []hostProgram{
			{"dockerd", "docker.io"}, {"docker", "docker.io"}, {"containerd", "containerd"}, {"runc", "runc"},
			{"cri-dockerd", "github.com/Mirantis/cri-dockerd"},
		},
		parts: []runtimePart{
			{name: "dockerd", command: []string{"dockerd", "--config-file", filepath.Join(machine.StateMount, "docker.json")}},
			{name: "cri-dockerd", needs: socket, command: []string{
				"cri-dockerd", "--container-runtime-endpoint", "unix://" + shim, "--docker-endpoint", "unix://" + socket,
				"--network-plugin", "cni", "--cni-conf-dir", "/etc/cni/net.d", "--cni-bin-dir", "/opt/cni/bin",
				"--pod-infra-container-image", pauseImage, "--streaming-bind-addr", "127.0.0.1:0",
			}},
		},
		files: func(r *Record) map[string]string { return map[string]string{"docker.json": dockerConfig(r)} },
	}
}

// dockerConfig leaves the network to CNI: Docker's own bridge and its rules would be in the way.
func dockerConfig(r *Record) string {
	config := map[string]any{
		"hosts": []string{"unix:///run/docker.sock"}, "bridge": "none", "iptables": false, "ip6tables": false, "ip-forward": false,
		"exec-opts": []string{"native.cgroupdriver=cgroupfs"}, "live-restore": true, "oom-score-adjust": 0,
	}
	if mirrors := mirrorsOf(r.Mirrors)["docker.io"]; len(mirrors) > 0 {
		config["registry-mirrors"] = mirrors // it has them for this registry alone
	}
	text, _ := json.Marshal(config) // strings, numbers and booleans
	return string(text)
}
