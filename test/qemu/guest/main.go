// SPDX-License-Identifier: Apache-2.0

// Command guest is the first program of a machine that test/qemu boots: it runs the tests and turns the machine off.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"

	"eastwest/test/qemu/jobs"
)

// The serial lines; the first is the kernel's.
const (
	outputLine = "/dev/ttyS1"
	codeLine   = "/dev/ttyS2"
)

func main() {
	code, err := run()
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
	}
	if err := tell(code); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
	}
	unix.Sync()
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
		fmt.Fprintln(os.Stderr, "error: turn the machine off:", err)
	}
}

// run returns the code of the first test that failed.
func run() (int, error) {
	if err := errors.Join(settle(), mount()); err != nil {
		return 1, err
	}
	out, err := line(outputLine)
	if err != nil {
		return 1, err
	}
	if said, err := exec.Command("/usr/sbin/ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		return 1, fmt.Errorf("set lo up: %w: %s", err, said)
	}
	text, err := os.ReadFile(jobs.File)
	if err != nil {
		return 1, err
	}
	var list jobs.List
	if err := json.Unmarshal(text, &list); err != nil {
		return 1, fmt.Errorf("read %s: %w", jobs.File, err)
	}
	if err := os.Setenv("PATH", "/usr/sbin:/usr/bin"); err != nil {
		return 1, err
	}
	for _, module := range list.Modules {
		if said, err := exec.Command("modprobe", module).CombinedOutput(); err != nil {
			fmt.Fprintf(out, "load module %s: %v: %s\n", module, err, said)
			return 1, nil
		}
	}
	for _, j := range list.Jobs {
		cmd := exec.Command(j.Dir+"/test", j.Args...)
		cmd.Dir, cmd.Stdout, cmd.Stderr = j.Dir, out, out
		cmd.Env = append([]string{"PATH=/usr/sbin:/usr/bin", "HOME=/root", "EASTWEST_REQUIRE_ROOT=1", "EASTWEST_OWN_MACHINE=1"}, j.Env...)
		err := cmd.Run()
		var ended *exec.ExitError
		switch {
		case errors.As(err, &ended):
			return max(1, ended.ExitCode()), nil // -1 is a signal
		case err != nil:
			fmt.Fprintln(out, "error:", err)
			return 1, nil
		}
	}
	return 0, nil
}

// settle mounts the root on top of itself: what runs containers changes its root, and the kernel lets nobody leave its first one.
func settle() error {
	const over = "/mnt"
	if err := unix.Mount("/", over, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount the root again: %w", err)
	}
	if err := os.Chdir(over); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move the root: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return fmt.Errorf("change the root: %w", err)
	}
	return os.Chdir("/")
}

// mount makes what programs expect of a file system. State has one of its own, for what is mounted there is seen elsewhere.
func mount() error {
	for _, m := range []struct{ kind, at string }{
		{"proc", "/proc"}, {"sysfs", "/sys"}, {"cgroup2", "/sys/fs/cgroup"}, {"devtmpfs", "/dev"}, {"tmpfs", "/tmp"}, {"tmpfs", "/run"},
		{"tmpfs", "/var/lib"},
	} {
		if err := unix.Mount(m.kind, m.at, m.kind, 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m.at, err)
		}
	}
	for name, to := range map[string]string{"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2"} {
		if err := os.Symlink(to, "/dev/"+name); err != nil {
			return fmt.Errorf("make /dev/%s: %w", name, err)
		}
	}
	return nil
}

// line opens a serial line that changes nothing of what is written to it.
func line(name string) (*os.File, error) {
	file, err := os.OpenFile(name, os.O_WRONLY|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	settings, err := unix.IoctlGetTermios(int(file.Fd()), unix.TCGETS)
	if err != nil {
		return nil, fmt.Errorf("read the settings of %s: %w", name, err)
	}
	settings.Oflag &^= unix.OPOST
	if err := unix.IoctlSetTermios(int(file.Fd()), unix.TCSETS, settings); err != nil {
		return nil, fmt.Errorf("change the settings of %s: %w", name, err)
	}
	return file, nil
}

// tell sends the code to the harness, and waits until everything was sent.
func tell(code int) error {
	file, err := line(codeLine)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(file, code); err != nil {
		return err
	}
	for _, name := range []string{outputLine, codeLine} {
		sent, err := line(name)
		if err != nil {
			return err
		}
		if err := unix.IoctlSetInt(int(sent.Fd()), unix.TCSBRK, 1); err != nil {
			return fmt.Errorf("wait for %s: %w", name, err)
		}
	}
	return nil
}
