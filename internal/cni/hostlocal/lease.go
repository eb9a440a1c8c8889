// SPDX-License-Identifier: Apache-2.0

package hostlocal

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// leaseLimit bounds what is read of a lease file; container names are far shorter.
const leaseLimit = 4096

type lease struct {
	addr  netip.Addr
	owner owner
}

// leases reads every lease of the network. Files that are not leases are passed over, as are leases of nobody.
func (s *store) leases() ([]lease, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("list leases: %w", err)
	}
	var out []lease
	for _, e := range entries {
		addr, err := netip.ParseAddr(e.Name())
		if err != nil || !e.Type().IsRegular() {
			continue
		}
		text, err := readBounded(filepath.Join(s.dir, e.Name()))
		if err != nil {
			return nil, fmt.Errorf("read lease of %s: %w", addr, err)
		}
		if o, ok := parseOwner(text); ok {
			out = append(out, lease{addr: addr, owner: o})
		}
	}
	return out, nil
}

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, leaseLimit))
}

// writeNew makes a file that is complete from the moment it has a name; fs.ErrExist if the name is taken.
func writeNew(dir, name, text string) error {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EISDIR) || errors.Is(err, unix.EINVAL) {
		return writeNewByLink(dir, name, text)
	}
	if err != nil {
		return &os.PathError{Op: "create", Path: dir, Err: err}
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		return err
	}
	path := filepath.Join(dir, name)
	if err := unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW); err != nil {
		return &os.LinkError{Op: "link", Old: "unnamed file", New: path, Err: err}
	}
	return nil
}

// writeNewByLink is for file systems without unnamed files. The temporary name is always the same and used under the
// lock, so a crash leaves at most one and the next writer uses it again.
func writeNewByLink(dir, name, text string) error {
	temporary := filepath.Join(dir, "lease.new")
	if err := os.WriteFile(temporary, []byte(text), 0o600); err != nil {
		return err
	}
	return errors.Join(os.Link(temporary, filepath.Join(dir, name)), os.Remove(temporary))
}
