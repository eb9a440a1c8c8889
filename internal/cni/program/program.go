// SPDX-License-Identifier: Apache-2.0

// Package program puts the plugins together: which there are, and what the program eastwest-cni does under each name.
package program

import (
	"context"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"eastwest/internal/cni/bridge"
	"eastwest/internal/cni/firewall"
	"eastwest/internal/cni/hostlocal"
	"eastwest/internal/cni/install"
	"eastwest/internal/cni/ipam"
	"eastwest/internal/cni/loopback"
	"eastwest/internal/cni/macvlan"
	"eastwest/internal/cni/plugin"
	"eastwest/internal/cni/portmap"
	"eastwest/internal/cni/ptp"
	"eastwest/internal/cni/tuning"
)

// Name is the program's own name, under which it installs itself.
const Name = "eastwest-cni"

const self = "/proc/self/exe"

// Plugins returns every plugin by the name that it is installed under.
func Plugins() plugin.Table {
	addresses := plugin.Table{
		"host-local": hostlocal.New(),
	}
	delegate := ipam.New(addresses)
	return plugin.Table{
		"bridge":     bridge.New(delegate),
		"firewall":   firewall.New(),
		"host-local": addresses["host-local"],
		"loopback":   loopback.New(),
		"macvlan":    macvlan.New(delegate),
		"portmap":    portmap.New(),
		"ptp":        ptp.New(delegate),
		"tuning":     tuning.New(),
	}
}

// Main runs the plugin that args[0] names, or a command of the program itself, and returns the exit code.
func Main(ctx context.Context, args []string, version string, stdout, stderr io.Writer) int {
	name := filepath.Base(args[0])
	if name != Name {
		runtime.GOMAXPROCS(1) // with more, each answer of the kernel wakes a thread that has nothing to do
		return pluginCommand(ctx, name, version)
	}
	if len(args) < 2 {
		return usage(stderr)
	}
	switch args[1] {
	case "install":
		return installCommand(args[2:], stdout, stderr)
	case "serve":
		return serveCommand(ctx, args[2:], stderr)
	case "version", "--version":
		fmt.Fprintln(stdout, Name, version)
		return 0
	}
	return usage(stderr)
}

func usage(stderr io.Writer) int {
	fmt.Fprintf(stderr, `%[1]s is a set of CNI plugins: it is one under each of the names that "install" gives it.

Usage:
  %[1]s install --dir DIR   install the plugins into DIR (container runtimes look in /opt/cni/bin)
  %[1]s serve               do the calls of all plugins in one process, faster; an agent does so by itself
  %[1]s version             print the version

Plugins: %[2]v
`, Name, slices.Sorted(maps.Keys(Plugins())))
	return 2
}

func installCommand(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet(Name+" install", flag.ContinueOnError)
	flags.SetOutput(stderr)
	dir := flags.String("dir", "/opt/cni/bin", "folder to install the plugins into")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(stderr, "unknown argument %q: give the folder as --dir DIR\n", flags.Arg(0))
		return 2
	}
	if err := Install(*dir, self); err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	fmt.Fprintf(stdout, "installed %v in %s\n", slices.Sorted(maps.Keys(Plugins())), *dir)
	return 0
}

// Install installs the plugins into dir from the file of this program.
func Install(dir, file string) error {
	file, err := filepath.EvalSymlinks(file)
	if err != nil {
		return fmt.Errorf("find the program to install: %w", err)
	}
	if _, err := os.Stat(file); err != nil {
		return fmt.Errorf("find the program to install: %w", err)
	}
	return install.Install(install.Config{Program: file, Name: Name, Dir: dir, Plugins: slices.Sorted(maps.Keys(Plugins()))})
}
