// SPDX-License-Identifier: Apache-2.0

package runner

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// drainTime is how long output is still read after a command has ended whose background processes hold it open.
const drainTime = time.Second

// Exec says what to run in a container, and with which streams. Any of them may be nil.
type Exec struct {
	ID      string
	Process specs.Process
	Stdin   io.Reader
	Stdout  io.Writer
	Stderr  io.Writer
	// Resize gives the sizes of the user's terminal while the command runs; used when Process.Terminal is set.
	Resize <-chan Size
}

// Size is a terminal's, in characters.
type Size struct{ Width, Height uint16 }

// Exec runs a command in a container until it ends and returns its exit status. An error means that it could not be
// run, or that ctx ended, in which case it was killed.
func (r *Runner) Exec(ctx context.Context, e Exec) (code int, err error) {
	dir, err := os.MkdirTemp(r.execDir(), "")
	if err != nil {
		return 0, fmt.Errorf("run command in container %s: %w", e.ID, err)
	}
	defer os.RemoveAll(dir)
	raw, err := json.Marshal(e.Process)
	if err != nil {
		return 0, fmt.Errorf("encode process: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "process.json"), raw, 0o600); err != nil {
		return 0, fmt.Errorf("run command in container %s: %w", e.ID, err)
	}
	cmd := exec.CommandContext(ctx, r.runtime, "--root", r.root, "--log", filepath.Join(dir, "log"), "--log-format", "json", "exec",
		"--process", filepath.Join(dir, "process.json"), "--pid-file", filepath.Join(dir, "pid"), e.ID)
	cmd.WaitDelay = drainTime
	cmd.Cancel = func() error { return killExec(filepath.Join(dir, "pid"), cmd.Process) }
	if e.Process.Terminal {
		err = runTerminal(cmd, e)
	} else {
		err = runPipes(cmd, e)
	}
	return execResult(ctx, err, filepath.Join(dir, "log"), e)
}

// execResult tells a command that failed from one that could not be started, about which runc's log says why.
func execResult(ctx context.Context, err error, log string, e Exec) (int, error) {
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	if err == nil || errors.Is(err, exec.ErrWaitDelay) {
		return 0, nil
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return 0, fmt.Errorf("run command in container %s: %w", e.ID, err)
	}
	text, _ := os.ReadFile(log)
	if message := loggedError(text); message != "" {
		return 0, fmt.Errorf("OCI runtime exec failed: %s: unknown", message)
	}
	return exitCode(exit), nil
}

// loggedError returns the message of the first error of a log, whose lines are JSON objects; "" when there is none.
func loggedError(log []byte) string {
	for line := range bytes.Lines(log) {
		var entry struct{ Level, Msg string }
		if json.Unmarshal(line, &entry) == nil && entry.Level == "error" {
			return entry.Msg
		}
	}
	return ""
}

func exitCode(exit *exec.ExitError) int {
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return exit.ExitCode()
}

// killExec kills the command in the container. The runc that waits for it then ends by itself, and is killed only when it
// does not within drainTime: without its parent the command would stay as a zombie, in sight of the container, until the
// machine's first process collects it.
func killExec(pidFile string, runc *os.Process) error {
	pid, err := readPID(pidFile)
	if err != nil {
		return runc.Kill()
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return runc.Kill()
	}
	return nil
}

func runPipes(cmd *exec.Cmd, e Exec) error {
	cmd.Stdout, cmd.Stderr = e.Stdout, e.Stderr
	if e.Stdin == nil {
		return cmd.Run()
	}
	// The user's input may never end; the command does not wait for it.
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(stdin, e.Stdin)
		_ = stdin.Close()
	}()
	return cmd.Wait()
}

// runTerminal gives runc a terminal of its own, which it connects with the one that it makes in the container.
func runTerminal(cmd *exec.Cmd, e Exec) error {
	pty, tty, err := openPTY()
	if err != nil {
		return err
	}
	defer pty.Close()
	cmd.Args = insertBefore(cmd.Args, "--process", "--tty")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	err = cmd.Start()
	_ = tty.Close()
	if err != nil {
		return err
	}
	ended := make(chan struct{})
	defer close(ended)
	go resizeLoop(pty, e.Resize, ended)
	if e.Stdin != nil {
		go func() { _, _ = io.Copy(pty, e.Stdin) }()
	}
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		if e.Stdout == nil {
			e.Stdout = io.Discard
		}
		_, _ = io.Copy(e.Stdout, pty) // ends with EIO once nobody has the other side open
	}()
	err = cmd.Wait()
	select {
	case <-drained:
	case <-time.After(drainTime):
	}
	return err
}

func insertBefore(args []string, mark, add string) []string {
	var out []string
	for _, a := range args {
		if a == mark {
			out = append(out, add)
		}
		out = append(out, a)
	}
	return out
}

// withTerm adds the kind of terminal unless the container says it.
func withTerm(env []string) []string {
	for _, e := range env {
		if strings.HasPrefix(e, "TERM=") {
			return env
		}
	}
	return append(env[:len(env):len(env)], "TERM=xterm")
}

// ExecProcess derives the process of a command from the container's own: the same user, capabilities and limits.
func ExecProcess(base specs.Process, cmd []string, tty bool) specs.Process {
	p := base
	p.Args, p.Terminal, p.ConsoleSize = cmd, tty, nil
	if tty {
		p.Env = withTerm(p.Env)
	}
	return p
}
