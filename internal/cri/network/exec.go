// SPDX-License-Identifier: Apache-2.0

package network

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
	"syscall"
	"time"

	"github.com/containernetworking/cni/pkg/invoke"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"

	"eastwest/internal/cni/portmap"
)

// How long what a plugin started may hold its output after the plugin's end, and when a program that is being written is tried again.
const (
	outputDelay = time.Second
	busyPause   = 100 * time.Millisecond
	busyTries   = 50
)

// ownName is what the program that has all our plugins is called in a folder of plugins.
const ownName = "eastwest-cni"

// programs runs plugins. When the time is up, a plugin ends with all that it started: of libcni's own, a grandchild that
// hangs (an IPAM plugin, say) would hold the call for ever.
type programs struct{ version.PluginDecoder }

var _ invoke.Exec = (*programs)(nil)

// FindInPath looks a plugin up.
func (p *programs) FindInPath(plugin string, paths []string) (string, error) {
	return invoke.FindInPath(plugin, paths)
}

// ExecPlugin runs a plugin and returns what it printed.
func (p *programs) ExecPlugin(ctx context.Context, path string, stdin []byte, environ []string) ([]byte, error) {
	if answer, ok := idle(path, stdin, environ); ok {
		return answer, nil
	}
	for try := 0; ; try++ {
		out, err := run(ctx, path, stdin, environ)
		if !errors.Is(err, syscall.ETXTBSY) || try == busyTries || ctx.Err() != nil {
			return out, err
		}
		time.Sleep(busyPause) // it is just being installed
	}
}

// idle answers for our own portmap when it has nothing to do, as with most pods: starting it would take longer than connecting the pod does.
// Somebody else's may be told more in the configuration than we know.
func idle(path string, stdin []byte, environ []string) (answer []byte, ok bool) {
	if filepath.Base(path) != "portmap" || !own(path) {
		return nil, false
	}
	for _, variable := range environ {
		if command, is := strings.CutPrefix(variable, "CNI_COMMAND="); is {
			answer, ok = portmap.Idle(command, stdin)
		}
	}
	return answer, ok
}

// own reports whether a plugin is the program that has all of ours, under another name.
func own(path string) bool {
	ours, err := os.Stat(filepath.Join(filepath.Dir(path), ownName))
	if err != nil {
		return false
	}
	this, err := os.Stat(path)
	return err == nil && os.SameFile(ours, this)
}

func run(ctx context.Context, path string, stdin []byte, environ []string) ([]byte, error) {
	var stdout, stderr bytes.Buffer
	c := exec.CommandContext(ctx, path)
	c.Env, c.Stdin, c.Stdout, c.Stderr = environ, bytes.NewReader(stdin), &stdout, &stderr
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
	c.WaitDelay = outputDelay
	err := c.Run()
	switch {
	case err == nil, errors.Is(err, exec.ErrWaitDelay):
		return stdout.Bytes(), nil
	case ctx.Err() != nil:
		return nil, fmt.Errorf("plugin %s did not end in time: %w", filepath.Base(path), ctx.Err())
	case errors.Is(err, syscall.ETXTBSY):
		return nil, err
	}
	return nil, complaint(path, err, stdout.Bytes(), stderr.String())
}

// complaint is the error that a plugin printed, as the specification has it, or what it said otherwise.
func complaint(path string, err error, stdout []byte, stderr string) error {
	var told types.Error
	if json.Unmarshal(stdout, &told) == nil && (told.Msg != "" || told.Code != 0) {
		return &told
	}
	if stderr = strings.TrimSpace(stderr); stderr == "" {
		stderr = strings.TrimSpace(string(stdout))
	}
	return fmt.Errorf("plugin %s failed: %w: %s", filepath.Base(path), err, stderr)
}
