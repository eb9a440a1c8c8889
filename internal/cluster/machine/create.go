// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// Create makes the machine's control group, namespaces and mounts. RunDir must be below a mount that does not
// propagate: the kernel refuses to pin a mount namespace elsewhere. A machine that is there already is left as it is,
// with only its host files written again.
func (m *Machine) Create(ctx context.Context) error {
	if m.Exists() {
		return m.Do(m.writeFiles)
	}
	if err := m.makeDirs(); err != nil {
		return err
	}
	// What an interrupted Create or a vanished namespace left would be in the way: a version 2 group that hands
	// controllers down takes no process.
	group := m.config.Group
	if err := errors.Join(group.Kill(ctx), group.Remove(ctx), group.Make()); err != nil {
		return fmt.Errorf("create node %s: %w", m.config.Name, err)
	}
	if err := m.makeNamespaces(ctx); err != nil {
		return fmt.Errorf("create the namespaces of node %s: %w", m.config.Name, err)
	}
	if err := m.fillFileSystem(); err != nil {
		return fmt.Errorf("create the file system of node %s: %w", m.config.Name, err)
	}
	return nil
}

// makeNamespaces starts a process in new namespaces and pins those. The process is `cat` on a pipe, which ends by itself
// should we die. It starts inside the control group, because that is what becomes the root of a new cgroup namespace.
func (m *Machine) makeNamespaces(ctx context.Context) error {
	return onThread(func() error {
		if err := m.config.Group.JoinThread(); err != nil {
			return err
		}
		attr := &syscall.SysProcAttr{
			Setsid:       true,
			Unshareflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP,
		}
		if dir, ok := m.config.Group.Unified(); ok {
			fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
			if err != nil {
				return fmt.Errorf("open control group %s: %w", dir, err)
			}
			defer unix.Close(fd)
			attr.UseCgroupFD, attr.CgroupFD = true, fd
		}
		return m.holdNamespaces(ctx, attr)
	})
}

func (m *Machine) holdNamespaces(ctx context.Context, attr *syscall.SysProcAttr) error {
	holder := exec.CommandContext(ctx, "cat")
	holder.SysProcAttr = attr
	holder.Stdout = io.Discard
	hold, err := holder.StdinPipe()
	if err != nil {
		return err
	}
	if err := holder.Start(); err != nil {
		return fmt.Errorf("start a process in new namespaces: %w", err)
	}
	defer func() {
		_ = hold.Close()
		_ = holder.Wait()
	}()
	for _, kind := range pinned {
		if err := pinTo(filepath.Join("/proc", strconv.Itoa(holder.Process.Pid), "ns", kind), m.pin(kind)); err != nil {
			return err
		}
	}
	return nil
}

// pinTo bind-mounts a namespace file. A file or pin that an interrupted Create left is replaced.
func pinTo(namespace, path string) error {
	if err := unpin(path); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDONLY, 0o400)
	if err != nil {
		return fmt.Errorf("pin namespace: %w", err)
	}
	_ = f.Close()
	if err := unix.Mount(namespace, path, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("pin namespace %s at %s: %w", namespace, path, err)
	}
	return nil
}

// unpin unmounts and removes a pin; one that is not there is no error.
func unpin(path string) error {
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unpin namespace %s: %w", path, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("unpin namespace: %w", err)
	}
	return nil
}
