// SPDX-License-Identifier: Apache-2.0

// Package ocispec translates a container as CRI asks for it into the runtime specification of the Open Container
// Initiative. It decides and does no input or output: what must be looked up in the machine or in the image (user,
// devices, namespaces, mount sources) is in Input.
package ocispec

import (
	"errors"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/opencontainers/runtime-spec/specs-go"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Input is all that decides about a container's specification.
type Input struct {
	Container *runtimeapi.ContainerConfig
	Sandbox   *runtimeapi.PodSandboxConfig
	Image     v1.Config
	// Rootfs is the mounted root file system.
	Rootfs string
	// CgroupsPath is the container's cgroup below the roots of the hierarchies.
	CgroupsPath string
	User        User
	Namespaces  Namespaces
	// Mounts are those that the sandbox gives, resolved; a mount of the container at the same path wins.
	Mounts []specs.Mount
	// Volumes are the container's mounts with their sources resolved on this node.
	Volumes []specs.Mount
	Devices []Device
	Node    Node
}

// User is the resolved user of a container.
type User struct {
	UID, GID uint32
	Groups   []uint32
}

// Namespaces holds the paths of namespaces to join. An empty Net, IPC or UTS is the node's; an empty PID is a new one
// unless HostPID.
type Namespaces struct {
	Net, IPC, UTS, PID string
	HostPID            bool
}

// Node is what of the node a specification depends on.
type Node struct {
	// Capabilities that this process may give, "CAP_…".
	Capabilities []string
	// OOMScoreAdj is our own: without CAP_SYS_RESOURCE nobody below us may have a lower one.
	OOMScoreAdj int
	// UnifiedCgroups is set where all controllers are in one cgroup v2 hierarchy.
	UnifiedCgroups bool
	// SwapAccounting is set where a limit of memory and swap together can be kept.
	SwapAccounting bool
	// HugePages is set where limits of huge pages can be kept. A kubelet sends one of every size, 0 where a pod asks for none.
	HugePages bool
}

// Build makes the specification.
func Build(in Input) (*specs.Spec, error) {
	args, err := arguments(in.Container, in.Image)
	if err != nil {
		return nil, err
	}
	caps, err := capabilities(in.security(), in.Node.Capabilities)
	if err != nil {
		return nil, err
	}
	spec := &specs.Spec{
		Version: "1.0.2",
		Process: &specs.Process{
			Terminal: in.Container.GetTty(), Args: args, Env: environment(in), Cwd: workingDir(in),
			User:            specs.User{UID: in.User.UID, GID: in.User.GID, AdditionalGids: in.User.Groups},
			Capabilities:    caps,
			NoNewPrivileges: in.security().GetNoNewPrivs(),
			OOMScoreAdj:     oomScore(in),
		},
		Root:        &specs.Root{Path: in.Rootfs, Readonly: in.security().GetReadonlyRootfs()},
		Annotations: annotations(in),
		Linux: &specs.Linux{
			CgroupsPath: in.CgroupsPath,
			Namespaces:  namespaces(in),
		},
	}
	spec.Mounts, spec.Linux.RootfsPropagation = mounts(in)
	spec.Linux.Resources = Resources(in.Container.GetLinux().GetResources(), in.Node)
	addDevices(spec, in)
	addPaths(spec, in)
	return spec, nil
}

func (in Input) security() *runtimeapi.LinuxContainerSecurityContext {
	return in.Container.GetLinux().GetSecurityContext()
}

func (in Input) privileged() bool { return in.security().GetPrivileged() }

// arguments are the command and its arguments as Kubernetes combines them with the image's: a command replaces the
// entrypoint and the image's arguments, arguments alone replace only those.
func arguments(c *runtimeapi.ContainerConfig, image v1.Config) ([]string, error) {
	command, args := c.GetCommand(), c.GetArgs()
	if len(command) == 0 {
		command = image.Entrypoint
		if len(args) == 0 {
			args = image.Cmd
		}
	}
	all := append(append([]string{}, command...), args...)
	if len(all) == 0 {
		return nil, errors.New("no command specified: neither the container nor its image has one")
	}
	return all, nil
}

func workingDir(in Input) string {
	for _, dir := range []string{in.Container.GetWorkingDir(), in.Image.WorkingDir} {
		if dir != "" {
			return dir
		}
	}
	return "/"
}

func oomScore(in Input) *int {
	score := int(in.Container.GetLinux().GetResources().GetOomScoreAdj())
	score = min(max(score, in.Node.OOMScoreAdj, -1000), 1000)
	return &score
}

func annotations(in Input) map[string]string {
	meta := in.Sandbox.GetMetadata()
	return map[string]string{
		"io.kubernetes.cri.container-name":    in.Container.GetMetadata().GetName(),
		"io.kubernetes.cri.sandbox-name":      meta.GetName(),
		"io.kubernetes.cri.sandbox-namespace": meta.GetNamespace(),
		"io.kubernetes.cri.sandbox-uid":       meta.GetUid(),
	}
}

func namespaces(in Input) []specs.LinuxNamespace {
	ns := []specs.LinuxNamespace{{Type: specs.MountNamespace}}
	add := func(kind specs.LinuxNamespaceType, path string) {
		if path != "" {
			ns = append(ns, specs.LinuxNamespace{Type: kind, Path: path})
		}
	}
	add(specs.NetworkNamespace, in.Namespaces.Net)
	add(specs.IPCNamespace, in.Namespaces.IPC)
	add(specs.UTSNamespace, in.Namespaces.UTS)
	switch {
	case in.Namespaces.PID != "":
		add(specs.PIDNamespace, in.Namespaces.PID)
	case !in.Namespaces.HostPID:
		ns = append(ns, specs.LinuxNamespace{Type: specs.PIDNamespace})
	}
	if in.Node.UnifiedCgroups && !in.privileged() {
		ns = append(ns, specs.LinuxNamespace{Type: specs.CgroupNamespace})
	}
	return ns
}

func addPaths(spec *specs.Spec, in Input) {
	if in.privileged() {
		return
	}
	spec.Linux.MaskedPaths = in.security().GetMaskedPaths()
	spec.Linux.ReadonlyPaths = in.security().GetReadonlyPaths()
}

// Validate refuses what this runtime cannot do, before anything is made.
func Validate(c *runtimeapi.ContainerConfig) error {
	switch {
	case c.GetMetadata().GetName() == "":
		return errors.New("container has no name in its metadata")
	case c.GetImage().GetImage() == "":
		return errors.New("container has no image")
	case len(c.GetCDIDevices()) > 0:
		return fmt.Errorf("CDI device %q: this runtime has no CDI devices", c.GetCDIDevices()[0].GetName())
	}
	sc := c.GetLinux().GetSecurityContext()
	if sc.GetRunAsGroup() != nil && sc.GetRunAsUser() == nil && sc.GetRunAsUsername() == "" {
		return errors.New("user group is specified without user")
	}
	return nil
}
