// SPDX-License-Identifier: Apache-2.0

package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// createTimeout bounds the making of a container, which includes waiting for other containers' cgroup changes.
const createTimeout = 2 * time.Minute

// Names of the files that conmon keeps in a bundle folder.
const (
	pidFile        = "pidfile"
	monitorPIDFile = "conmon-pidfile"
	attachSocket   = "attach"
	controlFIFO    = "ctl"
	oomFile        = "oom"
)

// Container says how to create one.
type Container struct {
	ID     string
	Bundle string // folder with config.json
	// LogPath is the file for the container's output in the format of CRI; empty for none.
	LogPath  string
	Terminal bool
	// Stdin keeps the container's standard input open for those who attach; StdinOnce closes it with the first of them.
	Stdin, StdinOnce bool
}

// syncMessage is what conmon reports about its first step: a process id, or -1 and why not.
type syncMessage struct {
	PID     int    `json:"pid"`
	Message string `json:"message"`
}

// Create makes the container, whose process waits for Start, and returns the process ids of its first process and of its
// monitor. After an error there is no such container.
func (r *Runner) Create(ctx context.Context, c Container) (pid, monitor int, err error) {
	sync, started, err := r.startMonitor(c)
	if err != nil {
		return 0, 0, fmt.Errorf("start monitor of container %s: %w", c.ID, err)
	}
	defer sync.Close()
	deadline := time.Now().Add(createTimeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	if err := sync.SetReadDeadline(deadline); err != nil {
		return 0, 0, errors.Join(fmt.Errorf("create container %s: limit the wait for its monitor: %w", c.ID, err), r.abandon(c))
	}
	stop := context.AfterFunc(ctx, func() { _ = sync.SetReadDeadline(time.Now()) })
	defer stop()
	defer r.expectRuntime(c.ID, func() { _ = sync.SetReadDeadline(time.Now()) })()
	msg, err := readSync(sync)
	if waitErr := started.Wait(); err == nil && waitErr != nil {
		err = waitErr
	}
	if err == nil && msg.PID > 0 {
		monitor, err = readPID(filepath.Join(c.Bundle, monitorPIDFile))
		if err == nil {
			return msg.PID, monitor, nil
		}
	}
	if err == nil {
		err = errors.New(Message(msg.Message))
	} else if text, _ := os.ReadFile(filepath.Join(c.Bundle, "monitor.log")); len(text) > 0 {
		err = fmt.Errorf("%w: %s", err, Message(string(text)))
	}
	return 0, 0, errors.Join(fmt.Errorf("create container %s: %w", c.ID, err), r.abandon(c))
}

// The monitor of a runtime that was killed waits until the container's first process closes its output, which waits for the
// runtime: so somebody has to look whether that is at work.
const (
	workEvery = time.Second
	workAfter = 5 // times that it was not seen
)

// expectRuntime calls gone when nothing works on the container's creation any more, until it is stopped.
func (r *Runner) expectRuntime(id string, gone func()) (stop func()) {
	done := make(chan struct{})
	go func() {
		tick := time.NewTicker(workEvery)
		defer tick.Stop()
		for missed := 0; missed < workAfter; {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			missed++
			if slices.ContainsFunc(r.makers(id), r.isRuntime) {
				missed = 0
			}
		}
		gone()
	}()
	return func() { close(done) }
}

func (r *Runner) isRuntime(pid int) bool {
	args, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	program, _, _ := strings.Cut(string(args), "\x00")
	return err == nil && program == r.runtime
}

// Abandon removes what a creation left that failed, or whose caller was killed: monitor and runtime may be at it still.
func (r *Runner) Abandon(ctx context.Context, id string) error {
	for ctx.Err() == nil {
		makers := r.makers(id)
		if len(makers) == 0 {
			break
		}
		for _, pid := range makers { // which may just have started others
			r.kill(ctx, pid, id)
		}
	}
	return r.Delete(ctx, id)
}

func (r *Runner) kill(ctx context.Context, pid int, id string) {
	p, err := OpenProcess(pid, "")
	if err != nil {
		return // it has just left
	}
	defer p.Close()
	if r.makes(pid, id) {
		_ = p.Signal(syscall.SIGKILL) // as above
		_ = p.Wait(ctx)
	}
}

func (r *Runner) abandon(c Container) error {
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
	defer cancel()
	return r.Abandon(ctx, c.ID)
}

// makers finds the monitors and runtimes that have a container's id among their arguments.
func (r *Runner) makers(id string) []int {
	var pids []int
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			if r.makes(pid, id) {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// makes reports whether a process is a container's monitor, or the runtime at work on it.
func (r *Runner) makes(pid int, id string) bool {
	about, err := isMonitor(pid, id)
	if err != nil || !about {
		return false
	}
	args, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	program, _, _ := strings.Cut(string(args), "\x00")
	return err == nil && (program == r.monitor || program == r.runtime)
}

// isMonitor reports whether a process is the monitor of a container, and not another that got its number later.
func isMonitor(pid int, id string) (bool, error) {
	args, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return false, err
	}
	return strings.Contains(string(args), "\x00"+id+"\x00"), nil
}

// startMonitor starts conmon, which leaves by itself once it has started the process that stays.
func (r *Runner) startMonitor(c Container) (*os.File, *exec.Cmd, error) {
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	defer writer.Close()
	log, err := os.Create(filepath.Join(c.Bundle, "monitor.log"))
	if err != nil {
		_ = reader.Close()
		return nil, nil, err
	}
	defer log.Close()
	cmd := exec.Command(r.monitor, r.monitorArgs(c)...)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "_OCI_SYNCPIPE=3"}
	cmd.ExtraFiles = []*os.File{writer}
	cmd.Stderr = log
	cmd.Dir = c.Bundle
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		_ = reader.Close()
		return nil, nil, err
	}
	return reader, cmd, nil
}

func (r *Runner) monitorArgs(c Container) []string {
	log := "k8s-file:" + c.LogPath
	if c.LogPath == "" {
		log = "none"
	}
	args := []string{
		"--cid", c.ID, "--cuuid", c.ID, "--name", c.ID, "--bundle", c.Bundle,
		"--runtime", r.runtime, "--runtime-arg", "--root=" + r.root,
		"--container-pidfile", filepath.Join(c.Bundle, pidFile), "--conmon-pidfile", filepath.Join(c.Bundle, monitorPIDFile),
		"--exit-dir", r.exits, "--full-attach", "--log-path", log, "--no-sync-log",
	}
	if c.Terminal {
		args = append(args, "--terminal")
	}
	if c.Stdin {
		args = append(args, "--stdin")
		if !c.StdinOnce {
			args = append(args, "--leave-stdin-open")
		}
	}
	return args
}

// readSync reads conmon's report; a pipe that closes without one means that it died.
func readSync(f *os.File) (syncMessage, error) {
	var msg syncMessage
	err := json.NewDecoder(io.LimitReader(f, 1<<20)).Decode(&msg)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return msg, errors.New("timed out while waiting for the runtime")
	}
	if err != nil {
		return msg, fmt.Errorf("monitor ended without a report: %w", err)
	}
	return msg, nil
}

func readPID(path string) (int, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return 0, fmt.Errorf("read process id: %w", err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil || pid <= 0 {
		return 0, fmt.Errorf("read process id of %s: %q is none", path, raw)
	}
	return pid, nil
}
