// SPDX-License-Identifier: Apache-2.0

// Package seccomp says which system calls a container may make: the runtime's default profile, none, or a profile
// from a file of the node.
package seccomp

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// maxProfile bounds a profile file.
const maxProfile = 4 << 20

// For resolves the profile that CRI asks for, nil for none. caps are the container's capabilities: the default profile
// lets those make the calls that they are for.
func For(p *runtimeapi.SecurityProfile, privileged bool, caps []string) (*specs.LinuxSeccomp, error) {
	if p == nil || privileged {
		return nil, nil
	}
	switch p.GetProfileType() {
	case runtimeapi.SecurityProfile_Unconfined:
		return nil, nil
	case runtimeapi.SecurityProfile_RuntimeDefault:
		return Default(caps), nil
	case runtimeapi.SecurityProfile_Localhost:
		return load(p.GetLocalhostRef())
	}
	return nil, fmt.Errorf("unknown seccomp profile type %v", p.GetProfileType())
}

func load(path string) (*specs.LinuxSeccomp, error) {
	if !filepath.IsAbs(path) {
		return nil, fmt.Errorf("seccomp profile %q: path must be absolute", path)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("read seccomp profile: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxProfile {
		return nil, fmt.Errorf("seccomp profile %s: not a regular file of at most %d bytes", path, maxProfile)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read seccomp profile: %w", err)
	}
	profile := &specs.LinuxSeccomp{}
	if err := json.Unmarshal(raw, profile); err != nil {
		return nil, fmt.Errorf("read seccomp profile %s: %w", path, err)
	}
	if profile.DefaultAction == "" {
		return nil, fmt.Errorf("seccomp profile %s: no defaultAction", path)
	}
	return profile, nil
}

// Default is the profile "RuntimeDefault": every call that ordinary programs make, and for each capability that the
// container has, the calls that the capability is about. Any other call fails with EPERM, and those that the C
// library probes for (clone3) with ENOSYS, so that it falls back.
func Default(caps []string) *specs.LinuxSeccomp {
	eperm, enosys := uint(1), uint(38)
	profile := &specs.LinuxSeccomp{DefaultAction: specs.ActErrno, DefaultErrnoRet: &eperm, Architectures: architectures()}
	names := ordinaryCalls()
	admin := slices.Contains(caps, "CAP_SYS_ADMIN")
	for _, grant := range capabilityCalls() {
		if slices.Contains(caps, grant.capability) {
			names = append(names, grant.calls...)
		}
	}
	allow := specs.LinuxSyscall{Names: names, Action: specs.ActAllow}
	profile.Syscalls = append(profile.Syscalls, allow, personalities(), sockets())
	if !admin {
		profile.Syscalls = append(profile.Syscalls, cloneWithoutNamespaces(),
			specs.LinuxSyscall{Names: []string{"clone3"}, Action: specs.ActErrno, ErrnoRet: &enosys})
	}
	return profile
}

func architectures() []specs.Arch {
	switch runtime.GOARCH {
	case "amd64":
		return []specs.Arch{specs.ArchX86_64, specs.ArchX86, specs.ArchX32}
	case "arm64":
		return []specs.Arch{specs.ArchAARCH64, specs.ArchARM}
	}
	return nil
}

// cloneWithoutNamespaces allows clone(2) unless a flag asks for a new namespace: NEWNS, NEWCGROUP, NEWUTS, NEWIPC,
// NEWUSER, NEWPID, NEWNET.
func cloneWithoutNamespaces() specs.LinuxSyscall {
	const namespaceFlags = 0x7E020000
	return specs.LinuxSyscall{Names: []string{"clone"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{
		{Index: 0, Value: namespaceFlags, ValueTwo: 0, Op: specs.OpMaskedEqual},
	}}
}

// personalities allows the execution domains that programs legitimately set, and asking for the present one. Arguments
// of one rule are all required, so this needs a rule a value, which runc makes of one argument each time it is named.
func personalities() specs.LinuxSyscall {
	rule := specs.LinuxSyscall{Names: []string{"personality"}, Action: specs.ActAllow}
	for _, value := range []uint64{0x0, 0x0008, 0x20000, 0x20008, 0xffffffff} {
		rule.Args = append(rule.Args, specs.LinuxSeccompArg{Index: 0, Value: value, Op: specs.OpEqualTo})
	}
	return rule
}

// sockets allows every address family but VSOCK (40), which reaches the hypervisor from any network namespace.
func sockets() specs.LinuxSyscall {
	return specs.LinuxSyscall{Names: []string{"socket"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{
		{Index: 0, Value: 40, Op: specs.OpNotEqual},
	}}
}
