// SPDX-License-Identifier: Apache-2.0

// Package podstate describes what a container runtime holds of one pod, as plain values: the sandboxes and containers,
// with what the kubelet wrote on them as labels and annotations. The runtime is the only memory of the kubelet: a
// restarted kubelet rebuilds everything from these values.
//
//	CRI answers → State → plan (what to do), status (what to report)
package podstate

import (
	"sort"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// State is everything that the runtime knows about one pod. Values are immutable once handed out.
type State struct {
	UID, Name, Namespace string
	Sandboxes            []Sandbox   // the newest first
	Containers           []Container // the newest first
}

// Sandbox is one pod sandbox. Ready means that its namespaces and its network are there.
type Sandbox struct {
	ID          string
	Attempt     uint32
	Ready       bool
	CreatedAt   time.Time
	IPs         []string // the pod's addresses, the primary one first; empty for a host-network pod
	HostNetwork bool
}

// Container is one container, running or not.
type Container struct {
	ID, SandboxID, Name string
	Hash                string // of the spec that it was made from, see Hash
	Restarts            int
	State               runtimeapi.ContainerState
	Created             time.Time
	Started, Finished   time.Time // zero when it has not
	ExitCode            int32
	Reason, Message     string
	Image, ImageID      string // as asked for, and the digest reference that it resolved to
	LogPath             string
	User                *runtimeapi.ContainerUser
	Annotations         map[string]string
	Mounts              []*runtimeapi.Mount
}

// Running says whether the container's process is alive.
func (c *Container) Running() bool { return c.State == runtimeapi.ContainerState_CONTAINER_RUNNING }

// Exited says whether the container's process ended.
func (c *Container) Exited() bool { return c.State == runtimeapi.ContainerState_CONTAINER_EXITED }

// Sort puts the newest sandboxes and containers first. Readers of a State rely on this order.
func (s *State) Sort() {
	sort.SliceStable(s.Sandboxes, func(i, j int) bool {
		a, b := s.Sandboxes[i], s.Sandboxes[j]
		if a.Attempt != b.Attempt {
			return a.Attempt > b.Attempt
		}
		return a.CreatedAt.After(b.CreatedAt)
	})
	sort.SliceStable(s.Containers, func(i, j int) bool {
		a, b := s.Containers[i], s.Containers[j]
		if a.Restarts != b.Restarts && a.Name == b.Name {
			return a.Restarts > b.Restarts
		}
		return a.Created.After(b.Created)
	})
}

// ReadySandbox returns the newest sandbox when it is ready, else nil.
func (s *State) ReadySandbox() *Sandbox {
	if len(s.Sandboxes) > 0 && s.Sandboxes[0].Ready {
		return &s.Sandboxes[0]
	}
	return nil
}

// Latest returns the newest container of that name, or nil.
func (s *State) Latest(name string) *Container { return s.nth(name, 0) }

// Previous returns the container of that name that ran before the newest one, or nil.
func (s *State) Previous(name string) *Container { return s.nth(name, 1) }

func (s *State) nth(name string, n int) *Container {
	for i := range s.Containers {
		if s.Containers[i].Name != name {
			continue
		}
		if n == 0 {
			return &s.Containers[i]
		}
		n--
	}
	return nil
}

// Superfluous returns the ids of the containers of that name that nobody will ask about: all that do not run but the newest that
// ended, whose log and exit code are the previous ones. The newest of all may be about to be started.
func (s *State) Superfluous(name string) []string {
	var ids []string
	newest, kept := true, false
	for i := range s.Containers {
		c := &s.Containers[i]
		if c.Name != name {
			continue
		}
		switch {
		case c.Running() || newest && !c.Exited():
		case c.Exited() && !kept:
			kept = true
		default:
			ids = append(ids, c.ID)
		}
		newest = false
	}
	return ids
}

// ByID returns the container with that id, or nil.
func (s *State) ByID(id string) *Container {
	for i := range s.Containers {
		if s.Containers[i].ID == id {
			return &s.Containers[i]
		}
	}
	return nil
}

// AnyRunning says whether a container of the pod is alive, or may be.
func (s *State) AnyRunning() bool {
	for i := range s.Containers {
		if s.Containers[i].Running() || s.Containers[i].State == runtimeapi.ContainerState_CONTAINER_UNKNOWN {
			return true
		}
	}
	return false
}
