// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"eastwest/internal/kernel/hostnet"
	"eastwest/internal/kernel/ipvs"
)

// ownPrograms have to be beside each other in Config.ProgramDir.
var ownPrograms = [...]string{"eastwest", "eastwest-server", "eastwest-node", "eastwest-cni", "eastwest-tool"}

// hostProgram is a program of the host, with the Debian package that has it.
type hostProgram struct{ program, debian string }

// hostPrograms are needed from the host.
var hostPrograms = [...]hostProgram{
	{"runc", "runc"},
	{"conmon", "conmon"},
	{"nft", "nftables"},
}

// checkHost says everything at once that this machine lacks for a cluster.
func (c *Clusters) checkHost(backend string) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("a local cluster needs root (it makes network namespaces, links and mounts): run this with sudo")
	}
	if err := os.MkdirAll(c.config.StateDir, 0o700); err != nil {
		return fmt.Errorf("create the state folder: %w", err)
	}
	return errors.Join(c.checkPrograms(), c.checkBackendPrograms(backend), checkNamespaces(), c.checkStateDir(), hostnet.Probe())
}

func (c *Clusters) checkPrograms() error {
	if c.config.Programs.Standins {
		return nil
	}
	var errs []error
	for _, name := range ownPrograms {
		if _, err := os.Stat(filepath.Join(c.config.ProgramDir, name)); err != nil {
			errs = append(errs, fmt.Errorf("program %s is not beside this one in %s: build all programs with make build", name, c.config.ProgramDir))
		}
	}
	var missing, packages []string
	for _, p := range hostPrograms {
		if _, err := exec.LookPath(p.program); err != nil {
			missing, packages = append(missing, p.program), append(packages, p.debian)
		}
	}
	if len(missing) > 0 {
		errs = append(errs, fmt.Errorf("missing on this host: %s: install it (Debian, Ubuntu: apt-get install %s)",
			strings.Join(missing, ", "), strings.Join(slices.Compact(packages), " ")))
	}
	return errors.Join(errs...)
}

// checkBackendPrograms says what a node lacks to carry services so. Nodes have the host's programs.
func (c *Clusters) checkBackendPrograms(backend string) error {
	if c.config.Programs.Standins {
		return nil
	}
	if backend == "ipvs" {
		if err := ipvs.Check(); err != nil {
			return fmt.Errorf("--backend ipvs: %w", err)
		}
	}
	if backend != "iptables" {
		return nil
	}
	if _, err := exec.LookPath("iptables-restore"); err != nil {
		return errors.New("--backend iptables: the program iptables-restore is missing on this host: install it (Debian, Ubuntu: apt-get install iptables)")
	}
	return nil
}

// checkNamespaces looks for the kernel's kinds of namespaces that a node is made of.
func checkNamespaces() error {
	var errs []error
	for kind, option := range map[string]string{"net": "CONFIG_NET_NS", "mnt": "CONFIG_NAMESPACES", "uts": "CONFIG_UTS_NS", "cgroup": "CONFIG_CGROUPS"} {
		if _, err := os.Stat("/proc/self/ns/" + kind); err != nil {
			errs = append(errs, fmt.Errorf("this kernel has no %s namespaces (%s)", kind, option))
		}
	}
	return errors.Join(errs...)
}

// checkStateDir refuses a file system that cannot hold the upper layers of overlays.
func (c *Clusters) checkStateDir() error {
	var fs unix.Statfs_t
	if err := unix.Statfs(c.config.StateDir, &fs); err != nil {
		return fmt.Errorf("look at the state folder %s: %w", c.config.StateDir, err)
	}
	if fs.Type == unix.OVERLAYFS_SUPER_MAGIC {
		return fmt.Errorf("the state folder %s is on an overlay file system, which cannot carry another one: name a folder on a disk or volume with --state-dir", c.config.StateDir)
	}
	return nil
}
