// SPDX-License-Identifier: Apache-2.0

package cri

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"eastwest/internal/cri/images"
	"eastwest/internal/cri/ocispec"
	"eastwest/internal/cri/rootfs"
)

// specInput looks up everything that the specification of a container depends on.
func (s *Server) specInput(rec containerRecord, sb sandboxRecord, img images.Image, root string) (in ocispec.Input, err error) {
	sc := rec.Config.GetLinux().GetSecurityContext()
	in = ocispec.Input{
		Container: rec.Config, Sandbox: sb.Config, Image: img.Config, Rootfs: root, CgroupsPath: rec.CgroupsPath,
		Mounts: s.sandboxMounts(sb, sc.GetReadonlyRootfs()), Node: s.node,
	}
	if in.User, err = containerUser(root, sc, img.Config.User); err != nil {
		return in, err
	}
	if in.Namespaces, err = s.containerNamespaces(sb, sc); err != nil {
		return in, err
	}
	if in.Volumes, err = s.volumes(rec, sc.GetPrivileged()); err != nil {
		return in, err
	}
	in.Devices, err = devices(rec.Config, sc.GetPrivileged())
	return in, err
}

// seccompProfile is the profile asked for, also in the form of older clients.
func seccompProfile(sc *runtimeapi.LinuxContainerSecurityContext) *runtimeapi.SecurityProfile {
	if p := sc.GetSeccomp(); p != nil {
		return p
	}
	switch path := sc.GetSeccompProfilePath(); path { //nolint:staticcheck // sent by older kubelets
	case "runtime/default", "docker/default":
		return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_RuntimeDefault}
	default:
		return nil
	}
}

// containerUser resolves whom the container runs as: the request's word, else the image's.
func containerUser(root string, sc *runtimeapi.LinuxContainerSecurityContext, imageUser string) (ocispec.User, error) {
	spec := imageUser
	switch {
	case sc.GetRunAsUser() != nil:
		spec = strconv.FormatInt(sc.GetRunAsUser().GetValue(), 10)
	case sc.GetRunAsUsername() != "":
		spec = sc.GetRunAsUsername()
	}
	found, err := rootfs.LookupUser(root, spec)
	if err != nil {
		return ocispec.User{}, err
	}
	user := ocispec.User{UID: found.UID, GID: found.GID}
	if g := sc.GetRunAsGroup(); g != nil {
		user.GID = uint32(g.GetValue())
	}
	groups := []uint32{user.GID}
	if sc.GetSupplementalGroupsPolicy() == runtimeapi.SupplementalGroupsPolicy_Merge {
		groups = append(groups, found.Groups...)
	}
	for _, g := range sc.GetSupplementalGroups() {
		if g < 0 || g > 1<<32-2 {
			return user, fmt.Errorf("supplemental group %d is out of range", g)
		}
		groups = append(groups, uint32(g))
	}
	slices.Sort(groups)
	user.Groups = slices.Compact(groups)
	return user, nil
}

// containerNamespaces says which of the sandbox's, the node's or another container's namespaces the container is in.
func (s *Server) containerNamespaces(sb sandboxRecord, sc *runtimeapi.LinuxContainerSecurityContext) (ocispec.Namespaces, error) {
	own := s.namespacesOf(sb)
	ns := ocispec.Namespaces{Net: own.Net, IPC: own.IPC, UTS: own.UTS}
	options := sc.GetNamespaceOptions()
	if options == nil {
		return ns, nil
	}
	switch options.GetPid() {
	case runtimeapi.NamespaceMode_NODE:
		ns.HostPID = true
	case runtimeapi.NamespaceMode_POD:
		if sb.PausePID == 0 {
			return ns, errors.New("the pod does not share its process namespace")
		}
		if !alive(sb.PausePID, sb.PauseStart) {
			return ns, errors.New("the process that holds the pod's process namespace was killed")
		}
		ns.PID = fmt.Sprintf("/proc/%d/ns/pid", sb.PausePID)
	case runtimeapi.NamespaceMode_TARGET:
		target, err := s.container(options.GetTargetId())
		if err != nil {
			return ns, fmt.Errorf("target of process namespace: %w", err)
		}
		rec := target.record()
		if rec.SandboxID != sb.ID || rec.State != stateRunning {
			return ns, fmt.Errorf("target of process namespace: container %s is not running in this pod", rec.ID)
		}
		ns.PID = fmt.Sprintf("/proc/%d/ns/pid", rec.PID)
	}
	return ns, nil
}

// sandboxMounts are the files that the pod gives to each container.
func (s *Server) sandboxMounts(sb sandboxRecord, readOnly bool) []specs.Mount {
	dir := s.sandboxDir(sb.ID)
	access := "rw"
	if readOnly {
		access = "ro"
	}
	shm := specs.Mount{Destination: "/dev/shm", Type: "bind", Source: filepath.Join(dir, "shm"), Options: []string{"rbind", "rw", "nosuid", "nodev", "noexec"}}
	if namespaceOptions(sb.Config).GetIpc() == runtimeapi.NamespaceMode_NODE {
		shm.Source = "/dev/shm"
	}
	mounts := []specs.Mount{shm}
	for _, name := range []string{"hosts", "hostname", "resolv.conf"} {
		mounts = append(mounts, specs.Mount{
			Destination: "/etc/" + name, Type: "bind", Source: filepath.Join(dir, name), Options: []string{"rbind", "rprivate", access},
		})
	}
	return mounts
}

// volumes resolves the mounts that the request names.
func (s *Server) volumes(rec containerRecord, privileged bool) ([]specs.Mount, error) {
	var out []specs.Mount
	for i, m := range rec.Config.GetMounts() {
		source, err := s.mountSource(rec.ID, i, m)
		if err != nil {
			return nil, fmt.Errorf("mount %s: %w", m.GetContainerPath(), err)
		}
		options := append([]string{"rbind"}, propagation(m.GetPropagation()))
		switch {
		case m.GetRecursiveReadOnly() && !m.GetReadonly():
			return nil, fmt.Errorf("mount %s: recursive read-only needs read-only", m.GetContainerPath())
		case m.GetRecursiveReadOnly() && m.GetPropagation() != runtimeapi.MountPropagation_PROPAGATION_PRIVATE:
			return nil, fmt.Errorf("mount %s: recursive read-only needs private propagation", m.GetContainerPath())
		case m.GetRecursiveReadOnly():
			options = append(options, "rro")
		case m.GetReadonly():
			options = append(options, "ro")
		default:
			options = append(options, "rw")
		}
		out = append(out, specs.Mount{Destination: filepath.Clean(m.GetContainerPath()), Type: "bind", Source: source, Options: options})
	}
	return out, nil
}

func propagation(p runtimeapi.MountPropagation) string {
	switch p {
	case runtimeapi.MountPropagation_PROPAGATION_HOST_TO_CONTAINER:
		return "rslave"
	case runtimeapi.MountPropagation_PROPAGATION_BIDIRECTIONAL:
		return "rshared"
	}
	return "rprivate"
}

// mountSource is the folder or file of the node to mount. One that is missing is made, as a folder.
func (s *Server) mountSource(id string, i int, m *runtimeapi.Mount) (string, error) {
	if m.GetContainerPath() == "" {
		return "", errors.New("no path in the container")
	}
	if m.GetImage() != nil {
		return s.mountImage(id, i, m)
	}
	if !filepath.IsAbs(m.GetHostPath()) {
		return "", fmt.Errorf("the path on the node must be absolute, not %q", m.GetHostPath())
	}
	source, err := filepath.EvalSymlinks(m.GetHostPath())
	if errors.Is(err, os.ErrNotExist) {
		if err := os.MkdirAll(m.GetHostPath(), 0o755); err != nil {
			return "", fmt.Errorf("make missing folder of the node: %w", err)
		}
		return m.GetHostPath(), nil
	}
	return source, err
}
