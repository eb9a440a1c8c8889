// SPDX-License-Identifier: Apache-2.0

// Package runner runs OCI bundles: runc or crun makes the container, and conmon, which outlives everybody who asked for it,
// holds the container's standard streams, writes its log and keeps its exit code.
//
// Nothing here is remembered: what a container is, is in its bundle folder (pidfile, exit code, attach socket), so that
// a caller that was killed goes on with what it finds.
package runner

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// commandTimeout bounds a call of runc that should take milliseconds.
const commandTimeout = 30 * time.Second

// ErrNotInstalled says that a program is not there.
var ErrNotInstalled = errors.New("not found")

// Runner calls an OCI runtime and conmon.
type Runner struct {
	name             string // of the runtime: runc, crun
	runtime, monitor string
	root, exits      string
}

// New looks a runtime, runc or crun, and conmon up, in PATH and the folders for administrators' programs, unless their
// paths are given. dir is for run-time state, which runtimes may share, and is lost when the machine restarts, as the
// containers are.
func New(name, runtime, monitor, dir string) (*Runner, error) {
	r := &Runner{name: name, root: filepath.Join(dir, name), exits: filepath.Join(dir, "exits")}
	var err error
	if r.runtime, err = lookup(runtime, name); err != nil {
		return nil, err
	}
	if r.monitor, err = lookup(monitor, "conmon"); err != nil {
		return nil, err
	}
	for _, d := range []string{r.root, r.exits, r.execDir()} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, fmt.Errorf("make folder of the container runtime: %w", err)
		}
	}
	return r, nil
}

func lookup(given, name string) (string, error) {
	candidates := []string{given}
	if given == "" {
		candidates = []string{name, "/usr/sbin/" + name, "/usr/bin/" + name, "/usr/local/sbin/" + name, "/usr/local/bin/" + name}
	}
	for _, c := range candidates {
		if path, err := exec.LookPath(c); err == nil {
			return filepath.Abs(path)
		}
	}
	if given != "" {
		return "", fmt.Errorf("program %s %w: install the Debian package %s (apt install %s) or name another path", given, ErrNotInstalled, name, name)
	}
	return "", fmt.Errorf("program %s %w: install the Debian package %s (apt install %s)", name, ErrNotInstalled, name, name)
}

func (r *Runner) execDir() string { return filepath.Join(filepath.Dir(r.root), "exec") }

// Has reports whether the runtime holds a container of that id.
func (r *Runner) Has(id string) bool {
	_, err := os.Stat(filepath.Join(r.root, id))
	return err == nil
}

// Version asks the runtime for its version.
func (r *Runner) Version(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, r.runtime, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("ask %s for its version: %w", r.runtime, err)
	}
	first, _, _ := strings.Cut(string(out), "\n")
	fields := strings.Fields(first)
	if len(fields) == 0 {
		return "", fmt.Errorf("ask %s for its version: empty answer", r.runtime)
	}
	return fields[len(fields)-1], nil
}

// Delete removes what the runtime and its cgroups hold of a container, killing it when it lives. A container that is not there is
// no error.
func (r *Runner) Delete(ctx context.Context, id string) error {
	if !r.Has(id) {
		return nil
	}
	err := r.call(ctx, nil, "delete", "--force", id)
	if err != nil && strings.Contains(err.Error(), "does not exist") {
		// The container's state file was never written: runc was killed early, or its folder is damaged.
		return os.RemoveAll(filepath.Join(r.root, id))
	}
	return err
}

// Update changes a container's resource limits; resources is the runtime specification's LinuxResources.
func (r *Runner) Update(ctx context.Context, id string, resources any) error {
	raw, err := json.Marshal(resources)
	if err != nil {
		return fmt.Errorf("encode resources of container %s: %w", id, err)
	}
	return r.call(ctx, raw, "update", "--resources", "/dev/stdin", id)
}

// call runs one short command and turns what it printed into an error.
func (r *Runner) call(ctx context.Context, stdin []byte, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, r.runtime, append([]string{"--root", r.root}, args...)...)
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stderr = bytes.NewReader(stdin), &stderr
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return fmt.Errorf("%s %s %s: %s: %w", r.name, args[0], args[len(args)-1], Message(stderr.String()), err)
	}
	return nil
}

// Message extracts the words of an error from what runc logs, in which they are the value of msg.
func Message(log string) string {
	var last string
	for line := range strings.Lines(log) {
		line = strings.TrimSpace(line)
		if line == "" || strings.Contains(line, "level=warning") {
			continue
		}
		if i := strings.Index(line, `msg="`); i >= 0 {
			var text string
			if json.Unmarshal([]byte(line[i+len("msg="):]), &text) == nil {
				line = text
			}
		}
		last = line
	}
	if last == "" {
		return "no message"
	}
	return last
}
