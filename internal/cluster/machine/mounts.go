// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// overlays are the host's folders that a machine sees and may change for itself alone.
var overlays = map[string]string{"etc": "/etc", "opt": "/opt", "log": "/var/log"}

// fillFileSystem mounts what the machine sees differently from the host. Trees that may become hidden by a mount on the
// way (a state folder below /tmp, programs below /run) are taken hold of first.
func (m *Machine) fillFileSystem() error {
	return m.Do(func() error {
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return fmt.Errorf("make mounts private: %w", err)
		}
		tmp := filepath.Join(m.config.StateDir, "tmp")
		if err := makeTmp(tmp); err != nil {
			return err
		}
		var held trees
		defer held.close()
		held.take(m.varLib(), "/var/lib")
		held.take(tmp, "/tmp")
		held.take(m.config.ProgramDir, ProgramMount)
		if held.err != nil {
			return held.err
		}
		if err := m.mountOverlays(); err != nil {
			return err
		}
		if err := errors.Join(m.hideHostRun(), mountRun()); err != nil {
			return err
		}
		if err := held.place(); err != nil {
			return err
		}
		if err := mountSys(m.config.Group); err != nil {
			return err
		}
		return m.writeFiles()
	})
}

func makeTmp(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return os.Chmod(dir, 0o777|fs.ModeSticky)
}

// mountOverlays gives /etc, /opt and /var/log an upper layer in the state folder.
func (m *Machine) mountOverlays() error {
	for name, target := range overlays {
		upper := filepath.Join(m.config.StateDir, name, "upper")
		work := filepath.Join(m.config.StateDir, name, "work")
		// A volatile overlay leaves a mark in its work folder that forbids to mount it again; it holds nothing else.
		if err := os.RemoveAll(work); err != nil {
			return err
		}
		for _, dir := range []string{upper, work} {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return err
			}
		}
		options := "lowerdir=" + escape(target) + ",upperdir=" + escape(upper) + ",workdir=" + escape(work)
		if err := mountOverlay(target, options); err != nil {
			return fmt.Errorf("mount overlay on %s with upper layer %s: %w", target, upper, err)
		}
	}
	return nil
}

// mountOverlay mounts without syncing to disk (volatile, Linux 5.10) where it can: else unmounting writes the whole disk's
// buffers out, which may take many seconds, for files that only a crash of the machine could lose.
func mountOverlay(target, options string) error {
	err := unix.Mount("overlay", target, "overlay", 0, options+",volatile")
	if errors.Is(err, unix.EINVAL) {
		err = unix.Mount("overlay", target, "overlay", 0, options)
	}
	switch {
	case errors.Is(err, unix.ENODEV):
		return fmt.Errorf("this kernel has no overlay file system (CONFIG_OVERLAY_FS, modprobe overlay): %w", err)
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ELOOP):
		return fmt.Errorf("the state folder must be on a disk file system, and not inside %s: %w", target, err)
	}
	return err
}

// escape protects what separates overlayfs options.
func escape(path string) string {
	return strings.NewReplacer(`\`, `\\`, ",", `\,`, ":", `\:`).Replace(path)
}

// hideHostRun unmounts, in this machine only, the host's mounts below /run and the pins of other machines: hidden below
// a new /run they would stay alive.
func (m *Machine) hideHostRun() error {
	mounts, err := mountPoints()
	if err != nil {
		return err
	}
	for i := len(mounts) - 1; i >= 0; i-- {
		if below(mounts[i], "/run") || below(mounts[i], m.config.RunRoot) {
			// Who removes the folder of a mount point takes the mount away everywhere: a cluster that goes meanwhile.
			if err := unix.Unmount(mounts[i], unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
				return fmt.Errorf("unmount %s inside the node: %w", mounts[i], err)
			}
		}
	}
	return nil
}

func below(path, root string) bool { return strings.HasPrefix(path, strings.TrimSuffix(root, "/")+"/") }

// mountPoints lists the mount points of the calling thread's mount namespace, in the order they were made.
func mountPoints() ([]string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/mountinfo", unix.Gettid()))
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	var points []string
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 4 {
			points = append(points, unescape.Replace(fields[4]))
		}
	}
	return points, nil
}

// mountRun gives the machine an empty /run. /run/netns is a shared mount, as `ip netns` makes it.
func mountRun() error {
	if err := unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755"); err != nil {
		return fmt.Errorf("mount /run: %w", err)
	}
	for _, dir := range []string{"/run/netns", "/run/lock", ProgramMount} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := os.Chmod(filepath.Dir(ProgramMount), 0o755); err != nil {
		return err
	}
	if err := unix.Mount("/run/netns", "/run/netns", "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount /run/netns: %w", err)
	}
	if err := unix.Mount("", "/run/netns", "", unix.MS_SHARED|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("share /run/netns: %w", err)
	}
	return nil
}
