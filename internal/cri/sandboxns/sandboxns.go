// SPDX-License-Identifier: Apache-2.0

// Package sandboxns makes the namespaces that the containers of a pod share, and pins them as bind mounts, so that they
// need no process to live: network at the path that `ip netns` and CNI know, IPC and UTS in the sandbox's own folder.
package sandboxns

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"eastwest/internal/kernel/netns"
)

// Config says which namespaces to make. An empty path means that the pod uses the node's.
type Config struct {
	// Net, IPC and UTS are the paths to pin at.
	Net, IPC, UTS string
	// Hostname is set in the UTS namespace.
	Hostname string
	// Sysctls by name ("net.ipv4.ip_local_port_range"), written in the namespace that each belongs to.
	Sysctls map[string]string
}

// Create makes and pins the namespaces, with the loopback device up. After an error nothing of them is left.
func Create(cfg Config) error {
	net, ipc, err := splitSysctls(cfg)
	if err != nil {
		return err
	}
	if cfg.Net != "" {
		if err := netns.Create(cfg.Net); err != nil {
			return err
		}
		if err := netns.Do(cfg.Net, func() error { return prepareNet(net) }); err != nil {
			return errors.Join(fmt.Errorf("prepare pod network namespace: %w", err), Remove(cfg))
		}
	}
	if cfg.IPC == "" && cfg.UTS == "" {
		return nil
	}
	if err := onLostThread(func() error { return pinIPCAndUTS(cfg, ipc) }); err != nil {
		return errors.Join(fmt.Errorf("make pod namespaces: %w", err), Remove(cfg))
	}
	return nil
}

// Remove unpins what Create pinned. Namespaces that are gone already are no error.
func Remove(cfg Config) error {
	var errs []error
	if cfg.Net != "" {
		errs = append(errs, netns.Remove(cfg.Net))
	}
	for _, path := range []string{cfg.IPC, cfg.UTS} {
		if path != "" {
			errs = append(errs, unpin(path))
		}
	}
	return errors.Join(errs...)
}

func prepareNet(sysctls map[string]string) error {
	if err := loopbackUp(); err != nil {
		return err
	}
	return writeSysctls(sysctls)
}

func pinIPCAndUTS(cfg Config, sysctls map[string]string) error {
	flags := 0
	if cfg.IPC != "" {
		flags |= unix.CLONE_NEWIPC
	}
	if cfg.UTS != "" {
		flags |= unix.CLONE_NEWUTS
	}
	if err := unix.Unshare(flags); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	if cfg.UTS != "" && cfg.Hostname != "" {
		if err := unix.Sethostname([]byte(cfg.Hostname)); err != nil {
			return fmt.Errorf("set hostname %q: %w", cfg.Hostname, err)
		}
	}
	if err := writeSysctls(sysctls); err != nil {
		return err
	}
	for kind, path := range map[string]string{"ipc": cfg.IPC, "uts": cfg.UTS} {
		if path != "" {
			if err := pin(kind, path); err != nil {
				return err
			}
		}
	}
	return nil
}

func pin(kind, path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(path, nil, 0o400); err != nil {
		return err
	}
	from := fmt.Sprintf("/proc/self/task/%d/ns/%s", unix.Gettid(), kind)
	if err := unix.Mount(from, path, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("pin %s namespace at %s: %w", kind, path, err)
	}
	return nil
}

func unpin(path string) error {
	err := unix.Unmount(path, unix.MNT_DETACH)
	if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unpin namespace %s: %w", path, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("unpin namespace: %w", err)
	}
	return nil
}

// splitSysctls sorts sysctls by the namespace they belong to and refuses those that would change the node.
func splitSysctls(cfg Config) (net, ipc map[string]string, err error) {
	net, ipc = map[string]string{}, map[string]string{}
	for name, value := range cfg.Sysctls {
		name = strings.ReplaceAll(name, "/", ".")
		switch {
		case strings.HasPrefix(name, "net.") && cfg.Net != "":
			net[name] = value
		case isIPC(name) && cfg.IPC != "":
			ipc[name] = value
		case name == "kernel.domainname" && cfg.UTS != "":
			ipc[name] = value
		default:
			return nil, nil, fmt.Errorf("sysctl %q is not allowed: it is not part of a namespace of this pod's own", name)
		}
	}
	return net, ipc, nil
}

// isIPC reports whether a sysctl belongs to the IPC namespace (man 7 ipc_namespaces).
func isIPC(name string) bool {
	switch name {
	case "kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall", "kernel.shmmax",
		"kernel.shmmni", "kernel.shm_rmid_forced", "kernel.msg_next_id", "kernel.sem_next_id", "kernel.shm_next_id":
		return true
	}
	return strings.HasPrefix(name, "fs.mqueue.")
}

func writeSysctls(sysctls map[string]string) error {
	for name, value := range sysctls {
		if strings.Contains(name, "..") || len(value) > 4096 {
			return fmt.Errorf("sysctl %q: invalid name or value", name)
		}
		path := filepath.Join("/proc/sys", strings.ReplaceAll(name, ".", "/"))
		if err := os.WriteFile(path, []byte(value), 0o644); err != nil {
			return fmt.Errorf("set sysctl %s=%q: %w", name, value, err)
		}
	}
	return nil
}

// onLostThread runs fn on an operating-system thread that ends afterwards, since fn leaves it in other namespaces.
func onLostThread(fn func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		result <- fn()
	}()
	return <-result
}
