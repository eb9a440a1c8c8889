// SPDX-License-Identifier: Apache-2.0

package ocispec

import (
	"os"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Device is a device node to make in the container.
type Device struct {
	Path         string // in the container
	Type         string // "c" or "b"
	Major, Minor int64
	Mode         os.FileMode
	UID, GID     uint32
	Permissions  string // of "rwm"
}

// addDevices makes device nodes and says which ones the container's processes may use: the harmless ones that every
// container has, and what is asked for; a privileged container all.
func addDevices(spec *specs.Spec, in Input) {
	for _, d := range in.Devices {
		mode, uid, gid := d.Mode, d.UID, d.GID
		spec.Linux.Devices = append(spec.Linux.Devices, specs.LinuxDevice{
			Path: d.Path, Type: d.Type, Major: d.Major, Minor: d.Minor, FileMode: &mode, UID: &uid, GID: &gid,
		})
	}
	if in.privileged() {
		spec.Linux.Resources.Devices = []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}
		return
	}
	rules := []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}
	for _, d := range in.Devices {
		major, minor := d.Major, d.Minor
		rules = append(rules, specs.LinuxDeviceCgroup{Allow: true, Type: d.Type, Major: &major, Minor: &minor, Access: d.Permissions})
	}
	spec.Linux.Resources.Devices = rules
}
