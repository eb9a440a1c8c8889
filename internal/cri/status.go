// SPDX-License-Identifier: Apache-2.0

package cri

import (
	"cmp"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// PodSandboxStatus tells about a sandbox; verbose adds "info", a JSON object.
func (s *Server) PodSandboxStatus(_ context.Context, req *runtimeapi.PodSandboxStatusRequest) (*runtimeapi.PodSandboxStatusResponse, error) {
	b, err := s.sandbox(req.GetPodSandboxId())
	if err != nil {
		return nil, err
	}
	rec := b.record()
	resp := &runtimeapi.PodSandboxStatusResponse{
		Status: sandboxStatus(rec), ContainersStatuses: s.containerStatuses(rec.ID), Timestamp: time.Now().UnixNano(),
	}
	if req.GetVerbose() {
		resp.Info, err = info(map[string]any{
			"pid": rec.PausePID, "config": rec.Config, "networkNamespace": rec.NetNS, "runtimeType": "eastwest",
			"runtimeSpec": s.sandboxSpec(rec),
		})
	}
	return resp, err
}

// sandboxSpec names the sandbox's namespaces in the form of a runtime specification, where tools look for them.
func (s *Server) sandboxSpec(rec sandboxRecord) map[string]any {
	ns := s.namespacesOf(rec)
	list := []map[string]string{}
	for _, n := range [][2]string{{"network", ns.Net}, {"ipc", ns.IPC}, {"uts", ns.UTS}} {
		if n[1] != "" {
			list = append(list, map[string]string{"type": n[0], "path": n[1]})
		}
	}
	return map[string]any{"linux": map[string]any{"namespaces": list, "sysctl": rec.Config.GetLinux().GetSysctls()}}
}

func info(v any) (map[string]string, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return map[string]string{"info": string(raw)}, nil
}

func sandboxState(rec sandboxRecord) runtimeapi.PodSandboxState {
	if rec.Ready {
		return runtimeapi.PodSandboxState_SANDBOX_READY
	}
	return runtimeapi.PodSandboxState_SANDBOX_NOTREADY
}

func sandboxStatus(rec sandboxRecord) *runtimeapi.PodSandboxStatus {
	st := &runtimeapi.PodSandboxStatus{
		Id: rec.ID, Metadata: rec.Config.GetMetadata(), State: sandboxState(rec), CreatedAt: rec.Created.UnixNano(),
		Network: &runtimeapi.PodSandboxNetworkStatus{}, Labels: rec.Config.GetLabels(), Annotations: rec.Config.GetAnnotations(),
		RuntimeHandler: rec.Handler,
		Linux:          &runtimeapi.LinuxPodSandboxStatus{Namespaces: &runtimeapi.Namespace{Options: namespaceOptions(rec.Config)}},
	}
	for i, addr := range rec.Addrs {
		if i == 0 {
			st.Network.Ip = addr.String()
			continue
		}
		st.Network.AdditionalIps = append(st.Network.AdditionalIps, &runtimeapi.PodIP{Ip: addr.String()})
	}
	return st
}

// ContainerStatus tells about a container; verbose adds "info", a JSON object.
func (s *Server) ContainerStatus(_ context.Context, req *runtimeapi.ContainerStatusRequest) (*runtimeapi.ContainerStatusResponse, error) {
	c, err := s.container(req.GetContainerId())
	if err != nil {
		return nil, err
	}
	rec := c.record()
	resp := &runtimeapi.ContainerStatusResponse{Status: containerStatus(rec)}
	if req.GetVerbose() {
		var spec json.RawMessage
		if spec, err = os.ReadFile(filepath.Join(s.bundle(rec.ID), "config.json")); err != nil {
			spec = json.RawMessage("null")
		}
		resp.Info, err = info(map[string]any{
			"sandboxID": rec.SandboxID, "pid": rec.PID, "config": rec.Config, "runtimeSpec": spec, "runtimeType": "eastwest",
		})
	}
	return resp, err
}

func criState(state containerState) runtimeapi.ContainerState {
	switch state {
	case stateCreated, stateStarting:
		return runtimeapi.ContainerState_CONTAINER_CREATED
	case stateRunning:
		return runtimeapi.ContainerState_CONTAINER_RUNNING
	case stateExited:
		return runtimeapi.ContainerState_CONTAINER_EXITED
	}
	return runtimeapi.ContainerState_CONTAINER_UNKNOWN
}

func containerStatus(rec containerRecord) *runtimeapi.ContainerStatus {
	st := &runtimeapi.ContainerStatus{
		Id: rec.ID, Metadata: rec.Config.GetMetadata(), State: criState(rec.State), CreatedAt: rec.Created.UnixNano(),
		Image: rec.Config.GetImage(), ImageRef: rec.ImageRef, ImageId: rec.ImageID, Labels: rec.Config.GetLabels(),
		Annotations: rec.Config.GetAnnotations(), Mounts: rec.Config.GetMounts(), LogPath: rec.LogPath,
		Reason: rec.Reason, Message: rec.Message, ExitCode: int32(rec.ExitCode), StopSignal: rec.Config.GetStopSignal(),
		Resources: &runtimeapi.ContainerResources{Linux: rec.Resources},
		User:      &runtimeapi.ContainerUser{Linux: containerUserStatus(rec)},
	}
	if !rec.Started.IsZero() {
		st.StartedAt = rec.Started.UnixNano()
	}
	if !rec.Finished.IsZero() {
		st.FinishedAt = rec.Finished.UnixNano()
	}
	if st.StopSignal == runtimeapi.Signal_RUNTIME_DEFAULT {
		st.StopSignal = signalOf(rec)
	}
	return st
}

func containerUserStatus(rec containerRecord) *runtimeapi.LinuxContainerUser {
	user := &runtimeapi.LinuxContainerUser{Uid: int64(rec.UID), Gid: int64(rec.GID)}
	for _, g := range rec.Groups {
		user.SupplementalGroups = append(user.SupplementalGroups, int64(g))
	}
	return user
}

// signalOf names the signal that will be used, where CRI has a name for it.
func signalOf(rec containerRecord) runtimeapi.Signal {
	want := stopSignal(rec)
	for value := range runtimeapi.Signal_name {
		name := runtimeapi.Signal(value)
		if sig, ok := signalNumber(name.String()); ok && sig == want && name != runtimeapi.Signal_SIGCLD && name != runtimeapi.Signal_SIGPOLL && name != runtimeapi.Signal_SIGIOT {
			return name
		}
	}
	return runtimeapi.Signal_SIGTERM
}

// containerStatuses are those of a sandbox's containers, the newest first.
func (s *Server) containerStatuses(sandboxID string) []*runtimeapi.ContainerStatus {
	var out []*runtimeapi.ContainerStatus
	for _, c := range s.containersOf(sandboxID) {
		if rec := c.record(); rec.State != stateCreating {
			out = append(out, containerStatus(rec))
		}
	}
	slices.SortFunc(out, func(a, b *runtimeapi.ContainerStatus) int { return cmp.Compare(b.GetCreatedAt(), a.GetCreatedAt()) })
	return out
}
