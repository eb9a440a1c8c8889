// SPDX-License-Identifier: Apache-2.0

// Command cni measures our CNI plugins beside those of containernetworking/plugins, as whole processes under libcni and in
// one run: ADD and DEL of a container, 100 ADDs at once, and ADD on a node that is full. Beside them it measures the
// kernel's own deletion of a veth pair, which every DEL waits for. Ours is measured twice: as on a node, where the agent does
// the calls that plugins are started for (here "eastwest-cni serve"), and alone.
//
//	go run ./cni -bin ../bin -runs 30
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"

	"github.com/containernetworking/cni/libcni"

	plugins "eastwest/bench/reference"
)

// inside is set in the process that has a network namespace of its own.
const inside = "EASTWEST_BENCH_CNI"

func main() {
	bin := flag.String("bin", "../bin", "folder of eastwest-cni")
	runs := flag.Int("runs", 30, "how many containers to add and delete with each")
	flag.Parse()
	var err error
	if os.Getenv(inside) == "" {
		err = reexec()
	} else {
		err = run(*bin, *runs)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "cni:", err)
		os.Exit(1)
	}
}

// reexec runs this program again in network and mount namespaces that end with it.
func reexec() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	c := exec.Command(self, os.Args[1:]...)
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	c.Env = append(os.Environ(), inside+"=1")
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS}
	return c.Run()
}

// side is one of those that are compared.
type side struct {
	name   string
	dir    string // folder of its plugins
	data   string // folder of its leases, in memory as the article has it
	cni    *libcni.CNIConfig
	server *server // that does the calls of its plugins; nil for none
	hidden bool    // the server is not to be found
}

func run(bin string, runs int) error {
	runtime.LockOSThread()
	dir, err := os.MkdirTemp("", "bench-cni")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := exec.Command("ip", "link", "set", "lo", "up").Run(); err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	ours, err := newSide(dir, "eastwest", func(to string) error {
		return exec.Command(filepath.Join(bin, "eastwest-cni"), "install", "--dir", to).Run()
	})
	if err != nil {
		return err
	}
	reference, err := newSide(dir, "reference 1.9.1", func(to string) error {
		return plugins.Build(to, "main/ptp", "ipam/host-local", "meta/portmap")
	})
	if err != nil {
		return err
	}
	if ours.server, err = startServer(ours.dir); err != nil {
		return err
	}
	defer ours.server.stop()
	alone := *ours
	alone.name, alone.hidden = "eastwest alone", true
	b := &bench{dir: dir, ours: ours, alone: &alone, reference: reference, ctx: context.Background()}
	for _, step := range []func(int) error{b.bare, b.oneByOne, b.atOnce, b.fullNode} {
		if err := step(runs); err != nil {
			return err
		}
	}
	return nil
}

func newSide(dir, name string, install func(string) error) (*side, error) {
	s := &side{name: name, dir: filepath.Join(dir, name, "bin"), data: filepath.Join("/run/cni-ipam-state", name)}
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return nil, err
	}
	if err := install(s.dir); err != nil {
		return nil, fmt.Errorf("install %s: %w", name, err)
	}
	s.cni = libcni.NewCNIConfigWithCacheDir([]string{s.dir}, filepath.Join(dir, name, "cache"), nil)
	return s, nil
}
