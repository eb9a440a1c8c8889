// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// processes are a control plane that runs.
type processes struct {
	dir      string
	commands []*exec.Cmd
	config   func() (*rest.Config, error) // an administrator's, once the files are there
	admin    *rest.Config
}

// start runs a program whose output goes to a file of the control plane's folder.
func (p *processes) start(program string, args ...string) error {
	log, err := os.Create(filepath.Join(p.dir, filepath.Base(program)+".log"))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(program, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = p.dir, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", filepath.Base(program), err)
	}
	p.commands = append(p.commands, cmd)
	return nil
}

func (p *processes) stop() {
	for _, cmd := range p.commands {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}

// ready waits until the API server says that it is.
func (p *processes) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	last := errors.New("never asked")
	for ctx.Err() == nil {
		if p.admin == nil {
			p.admin, last = p.config()
		}
		if p.admin != nil {
			client, err := kubernetes.NewForConfig(p.admin)
			if err != nil {
				return err
			}
			_, last = client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
		}
		if last == nil {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("not ready after 2 min: %w; its logs said:\n%s", last, p.logs())
}

func (p *processes) logs() string {
	var out strings.Builder
	for _, cmd := range p.commands {
		text, _ := os.ReadFile(filepath.Join(p.dir, filepath.Base(cmd.Path)+".log"))
		fmt.Fprintf(&out, "%s: %s\n", filepath.Base(cmd.Path), text[max(0, len(text)-2000):])
	}
	return out.String()
}

var resident = regexp.MustCompile(`(?m)^VmRSS:\s+(\d+) kB`)

// memory is what is resident of all processes, in MiB.
func (p *processes) memory() (float64, error) {
	sum := 0
	for _, cmd := range p.commands {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
		if err != nil {
			return 0, err
		}
		match := resident.FindSubmatch(status)
		if match == nil {
			return 0, fmt.Errorf("%s has ended:\n%s", cmd.Path, p.logs())
		}
		kib, err := strconv.Atoi(string(match[1]))
		if err != nil {
			return 0, err
		}
		sum += kib
	}
	return float64(sum) / 1024, nil
}

// cpu is the processor time that all processes have used.
func (p *processes) cpu() (time.Duration, error) {
	ticks := 0
	for _, cmd := range p.commands {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", cmd.Process.Pid))
		if err != nil {
			return 0, err
		}
		// Fields 14 and 15; the name before them may have spaces.
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		for _, i := range []int{11, 12} {
			n, err := strconv.Atoi(fields[i])
			if err != nil {
				return 0, err
			}
			ticks += n
		}
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
}
