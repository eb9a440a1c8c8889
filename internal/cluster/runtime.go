// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"eastwest/internal/cluster/machine"
)

// Container runtimes of a cluster's nodes beside the one that is built into the agent.
const (
	RuntimeContainerd = "containerd"
	RuntimeDocker     = "docker"
)

// pauseImage is what these start pods' sandboxes from; agents make it.
const pauseImage = "eastwest.local/pause:latest"

// runtimePart is a process of a container runtime on a node.
type runtimePart struct {
	name    string
	command []string
	needs   string // a socket that has to be there first
}

// criRuntime is a container runtime of other people, started on each node. Every node has a /run and a /var/lib of its own,
// so the usual folders and sockets are the node's.
type criRuntime struct {
	endpoint string
	programs []hostProgram
	parts    []runtimePart
	// files are written to the node's state folder, by name: configurations, and scripts.
	files func(r *Record) map[string]string
}

func (r *Record) runtime() (criRuntime, bool) {
	switch r.CRI {
	case RuntimeContainerd:
		return containerdRuntime(), true
	case RuntimeDocker:
		return dockerRuntime(), true
	}
	return criRuntime{}, false
}

func checkRuntime(name string) error { return oneOf("--cri", name, RuntimeContainerd, RuntimeDocker) }

// findRuntime looks for a runtime's programs on the host, whose file system nodes see, and returns their folders.
func findRuntime(r *Record) ([]string, error) {
	runtime, ok := r.runtime()
	if !ok {
		return nil, nil
	}
	var dirs, missing, packages []string
	for _, p := range runtime.programs {
		path, err := exec.LookPath(p.program)
		if err != nil {
			missing, packages = append(missing, p.program), append(packages, p.debian)
			continue
		}
		if path, err = filepath.Abs(path); err != nil {
			return nil, fmt.Errorf("find %s: %w", p.program, err)
		}
		for _, hidden := range []string{"/tmp", "/run", "/var/lib"} {
			if strings.HasPrefix(path, hidden+"/") {
				return nil, fmt.Errorf("--cri %s: %s is where nodes have a folder of their own: put it elsewhere", r.CRI, path)
			}
		}
		dirs = append(dirs, filepath.Dir(path))
	}
	if len(missing) > 0 {
		slices.Sort(packages)
		return nil, fmt.Errorf("--cri %s: missing on this host: %s: install %s, and put the programs into the PATH",
			r.CRI, strings.Join(missing, ", "), strings.Join(slices.Compact(packages), ", "))
	}
	slices.Sort(dirs)
	return slices.Compact(dirs), nil
}

// startRuntime starts the processes of the node's container runtime.
func (c *Clusters) startRuntime(w *watch, r *Record, node Node) error {
	runtime, ok := r.runtime()
	if !ok || c.config.Programs.Standins {
		return nil
	}
	m := c.machine(r, node)
	for name, text := range runtime.files(r) {
		if err := os.WriteFile(filepath.Join(m.Lib(), name), []byte(text), 0o700); err != nil {
			return fmt.Errorf("write %s of node %s: %w", name, node.Name, err)
		}
	}
	for _, part := range runtime.parts {
		if part.needs != "" {
			if err := c.awaitSocket(w.ctx, r, node, part.needs); err != nil {
				return fmt.Errorf("start %s on node %s: %w", part.name, node.Name, err)
			}
		}
		if err := w.follow(node.Name, func() (*machine.Process, error) { return c.startIn(r, node, part.name, part.command) }); err != nil {
			return err
		}
	}
	return nil
}

// awaitSocket returns when somebody listens on a socket of a node; a file without a listener is one that was killed.
func (c *Clusters) awaitSocket(ctx context.Context, r *Record, node Node, path string) error {
	m := c.machine(r, node)
	for {
		err := m.Do(func() error { return connect(path) })
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ECONNREFUSED) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w", path, context.Cause(ctx))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// connect opens and closes a connection on the calling thread, whose file system has the socket.
func connect(path string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Connect(fd, &unix.SockaddrUnix{Name: path})
}

// checkMirrors refuses what is no REGISTRY=URL.
func checkMirrors(texts []string) error {
	for _, text := range texts {
		registry, address, _ := strings.Cut(text, "=")
		u, err := url.Parse(address)
		if registry == "" || err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return fmt.Errorf("--registry-mirror %q: expected REGISTRY=URL, docker.io=https://mirror.example.com say", text)
		}
	}
	return nil
}

// mirrorsOf lists the mirrors' URLs by registry.
func mirrorsOf(texts []string) map[string][]string {
	out := map[string][]string{}
	for _, text := range texts {
		registry, address, _ := strings.Cut(text, "=")
		out[registry] = append(out[registry], address)
	}
	return out
}
