// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"eastwest/internal/cluster/cgroup"
	"eastwest/internal/cluster/proc"
)

// gate is what a process runs before its program: it waits on descriptor 3 until its starter has written it down and
// moved it into its control group, then becomes the program. Should the starter die meanwhile, it ends.
const gate = `read go <&3 && exec "$@" 3<&-`

// Spec describes a long-running process.
type Spec struct {
	// Name names its record, its control group and its log: "agent".
	Name string
	// Command is the program, by its path, and its arguments.
	Command []string
	// Env replaces the environment.
	Env []string
	// Log is the host's path of the file that takes standard output and error.
	Log string
}

// Process is a process that this program has started.
type Process struct {
	proc.ID
	// Name is the name in its Spec.
	Name string
	// Log is the host's path of its log.
	Log  string
	done chan struct{}
	err  error
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err says how the process ended; nil before Done, and after exit status 0.
func (p *Process) Err() error {
	select {
	case <-p.done:
		return p.err
	default:
		return nil
	}
}

// Start starts a detached process inside the machine. It goes on after this program.
func (m *Machine) Start(spec Spec) (*Process, error) {
	return launch(spec, m.config.Group.Child(spec.Name), m.processDir(), m.enter)
}

// Launch starts a detached process on the host, recorded in records/NAME.json as those of machines are.
func Launch(spec Spec, group cgroup.Group, records string) (*Process, error) {
	return launch(spec, group, records, func() error { return nil })
}

// launch starts a detached process wherever enter brings the thread that starts it. The process is recorded before its
// program runs.
func launch(spec Spec, group cgroup.Group, records string, enter func() error) (*Process, error) {
	if err := group.Make(); err != nil {
		return nil, fmt.Errorf("start %s: %w", spec.Name, err)
	}
	log, err := os.OpenFile(spec.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", spec.Name, err)
	}
	defer log.Close()
	wait, release, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", spec.Name, err)
	}
	defer release.Close()
	cmd := &exec.Cmd{
		Path: "/bin/sh", Args: append([]string{"sh", "-c", gate, spec.Name}, spec.Command...), Env: spec.Env, Dir: "/",
		Stdout: log, Stderr: log, ExtraFiles: []*os.File{wait}, SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	err = onThread(func() error {
		if err := group.JoinThread(); err != nil {
			return err
		}
		if err := enter(); err != nil {
			return err
		}
		return cmd.Start()
	})
	_ = wait.Close()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", spec.Name, err)
	}
	p := &Process{Name: spec.Name, Log: spec.Log, done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, p.admit(cmd.Process.Pid, spec, group, records, release)
}

// admit records the process, moves it into its control group and lets its program run.
func (p *Process) admit(pid int, spec Spec, group cgroup.Group, records string, release *os.File) error {
	id, err := proc.Of(pid)
	if err == nil {
		p.ID = id
		record := proc.Record{ID: id, Command: spec.Command}
		err = errors.Join(record.Save(filepath.Join(records, spec.Name+".json")), group.JoinUnified(pid))
	}
	if err == nil {
		_, err = release.WriteString("go\n")
	}
	if err != nil {
		return fmt.Errorf("start %s: %w", spec.Name, err)
	}
	return nil
}

// Processes lists the recorded processes by name, whether they still run or not.
func (m *Machine) Processes() (map[string]proc.Record, error) { return proc.LoadDir(m.processDir()) }
