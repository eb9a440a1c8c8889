// SPDX-License-Identifier: Apache-2.0

// Package machine makes a machine out of namespaces: network, mount, UTS and cgroup namespaces that are pinned in a
// folder, so that they live without any process, with a file system of their own over the host's. Processes are
// started inside, detached, and found again by later programs.
//
//	Create ─▶ namespaces pinned ─▶ mounts ─▶ Start, Run, Exec ─▶ Kill ─▶ Remove
//
// The PID namespace is the host's. What the machine writes goes to its state folder on disk; mounts exist only in its
// own mount namespace, so nothing of them shows on the host.
package machine

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"eastwest/internal/cluster/cgroup"
	"eastwest/internal/cluster/proc"
)

// Host is a name with its address, for /etc/hosts.
type Host struct {
	Name    string
	Address netip.Addr
}

// Config describes one machine.
type Config struct {
	// Name is its host name.
	Name string
	// StateDir is its folder on disk: everything that its file system holds beyond the host's.
	StateDir string
	// RunDir is its folder for run-time files, on a private mount: pinned namespaces and process records.
	RunDir string
	// RunRoot is the folder below which all machines' RunDirs are; it is hidden inside.
	RunRoot string
	// Group is its control group.
	Group cgroup.Group
	// ProgramDir is the host's folder that shows as ProgramMount inside.
	ProgramDir string
	// Hosts are the names that every machine of the cluster knows.
	Hosts []Host
	// ResolvConf is the content of /etc/resolv.conf.
	ResolvConf string
}

// ProgramMount is where a machine sees the folder of eastwest's programs.
const ProgramMount = "/run/eastwest/bin"

// StateMount is the folder of eastwest's programs on a machine, whatever the host's state folder is called. It lies in the
// machine's own /var/lib: a mount on a folder of the host's would end when somebody removes that folder (Linux 3.18).
const StateMount = "/var/lib/eastwest"

// Machine is one machine of namespaces; it may or may not exist yet.
type Machine struct {
	config Config
}

// New names a machine. It creates nothing.
func New(config Config) *Machine { return &Machine{config: config} }

// Name is the machine's host name.
func (m *Machine) Name() string { return m.config.Name }

// Lib is the host's path of the folder that the machine sees as StateMount.
func (m *Machine) Lib() string { return filepath.Join(m.varLib(), filepath.Base(StateMount)) }

// varLib is the host's path of the machine's /var/lib.
func (m *Machine) varLib() string { return filepath.Join(m.config.StateDir, "lib") }

// LogFile is the host's path of a process's log.
func (m *Machine) LogFile(process string) string {
	return filepath.Join(m.config.StateDir, "logs", process+".log")
}

// NetNS is the path of the pinned network namespace.
func (m *Machine) NetNS() string { return m.pin("net") }

// Group is the machine's control group.
func (m *Machine) Group() cgroup.Group { return m.config.Group }

func (m *Machine) pin(kind string) string { return filepath.Join(m.config.RunDir, "ns", kind) }

func (m *Machine) processDir() string { return filepath.Join(m.config.RunDir, "processes") }

// pinned are the kinds of namespaces of a machine, by their file below /proc/PID/ns. The mount namespace is last: after
// it is entered, the host's paths are gone.
var pinned = [...]string{"net", "uts", "cgroup", "mnt"}

// Exists reports whether all namespaces are pinned.
func (m *Machine) Exists() bool {
	for _, kind := range pinned {
		if _, err := proc.NamespaceAt(m.pin(kind)); err != nil {
			return false
		}
	}
	return true
}

// makeDirs creates the state and run folders.
func (m *Machine) makeDirs() error {
	c := m.config
	var errs []error
	for _, dir := range []string{c.StateDir, c.RunDir} {
		errs = append(errs, os.MkdirAll(dir, 0o700))
	}
	errs = append(errs, os.MkdirAll(filepath.Join(c.StateDir, "logs"), 0o700))
	errs = append(errs, os.MkdirAll(m.varLib(), 0o755), os.MkdirAll(m.Lib(), 0o700))
	for _, dir := range []string{filepath.Join(c.RunDir, "ns"), m.processDir()} {
		errs = append(errs, os.MkdirAll(dir, 0o700))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("create the folders of node %s: %w", c.Name, err)
	}
	return nil
}
