// SPDX-License-Identifier: Apache-2.0

package ocispec

import (
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// defaultCapabilities is the set that containers have had since Docker, and that Kubernetes documents.
func defaultCapabilities() []string {
	return []string{
		"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID",
		"CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
	}
}

// KnownCapabilities are the names in the order of their numbers (linux/capability.h, Linux 5.9 and later).
func KnownCapabilities() []string {
	names := strings.Fields(`CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE
		NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE
		SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL
		SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE`)
	for i := range names {
		names[i] = "CAP_" + names[i]
	}
	return names
}

// capabilities applies what is dropped and added to the default set. What the node cannot give (available) is left out:
// asking the kernel for it would fail the whole container.
func capabilities(sc *runtimeapi.LinuxContainerSecurityContext, available []string) (*specs.LinuxCapabilities, error) {
	set := defaultCapabilities()
	var ambient []string
	if sc.GetPrivileged() {
		set = slices.Clone(available)
	} else {
		var err error
		if set, ambient, err = adjust(set, sc.GetCapabilities(), available); err != nil {
			return nil, err
		}
	}
	keep := func(c string) bool { return !slices.Contains(available, c) }
	set = slices.DeleteFunc(set, keep)
	ambient = slices.DeleteFunc(ambient, keep)
	return &specs.LinuxCapabilities{Bounding: set, Effective: set, Permitted: set, Inheritable: ambient, Ambient: ambient}, nil
}

// adjust applies "ALL" first, so that one may drop all and add a few, or the other way round.
func adjust(set []string, c *runtimeapi.Capability, available []string) (all, ambient []string, err error) {
	add, err := capabilityNames(c.GetAddCapabilities())
	if err != nil {
		return nil, nil, err
	}
	drop, err := capabilityNames(c.GetDropCapabilities())
	if err != nil {
		return nil, nil, err
	}
	ambient, err = capabilityNames(c.GetAddAmbientCapabilities())
	if err != nil {
		return nil, nil, err
	}
	if slices.Contains(add, "ALL") {
		set = slices.Clone(available)
	}
	if slices.Contains(drop, "ALL") {
		set = nil
	}
	for _, name := range slices.Concat(add, ambient) {
		if name != "ALL" && !slices.Contains(set, name) {
			set = append(set, name)
		}
	}
	set = slices.DeleteFunc(set, func(s string) bool { return slices.Contains(drop, s) })
	return set, ambient, nil
}

// capabilityNames writes names in full and refuses unknown ones.
func capabilityNames(names []string) ([]string, error) {
	known := KnownCapabilities()
	var out []string
	for _, n := range names {
		full := strings.ToUpper(n)
		if full != "ALL" && !strings.HasPrefix(full, "CAP_") {
			full = "CAP_" + full
		}
		if full != "ALL" && !slices.Contains(known, full) {
			return nil, fmt.Errorf("unknown capability %q", n)
		}
		out = append(out, full)
	}
	return out, nil
}
