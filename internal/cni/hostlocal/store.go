// SPDX-License-Identifier: Apache-2.0

package hostlocal

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// DefaultDataDir is where leases are kept when "dataDir" is not configured: the same place as the reference plugin's.
const DefaultDataDir = "/var/lib/cni/networks"

const lastReservedPrefix = "last_reserved_ip."

// store is a network's leases on disk, in the reference plugin's format, so that either plugin goes on with the
// other's files: for each address a file of its name that says who holds it, a file with the last address handed out
// from each range set, and a file to lock. Beside them stands an index of ours (see index.go).
//
// A lease file appears at once and whole: a kill at any point leaves either no lease or one that names its owner.
type store struct {
	dir  string
	lock *os.File
	// unindexed says that there is no room for an index, so that the leases themselves are read.
	unindexed bool
}

// openStore locks the leases of a network, waiting for whoever holds them, and makes the folder if it is missing.
func openStore(dataDir, network string) (*store, error) {
	dir := filepath.Join(dataDir, network)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make folder of leases: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock of leases: %w", err)
	}
	for {
		err = unix.Flock(int(lock.Fd()), unix.LOCK_EX)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("lock leases in %s: %w", dir, err)
	}
	s := &store{dir: dir, lock: lock}
	if err := s.ensureIndex(); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// close gives the lock up.
func (s *store) close() { _ = s.lock.Close() }

func (s *store) path(a netip.Addr) string { return filepath.Join(s.dir, a.String()) }

// reserve gives a free address to an owner; it reports false if the address is held. Part names the range set.
func (s *store) reserve(a netip.Addr, o owner, part int) (bool, error) {
	if held, err := s.held(a); held || err != nil {
		return false, err
	}
	if err := s.unstamp(); err != nil {
		return false, err
	}
	if err := writeNew(s.dir, a.String(), o.String()); err != nil {
		if !errors.Is(err, fs.ErrExist) {
			err = fmt.Errorf("write lease of %s: %w", a, err)
		} else {
			err = nil
		}
		return false, errors.Join(err, s.stampIndex()) // nothing has changed
	}
	last := filepath.Join(s.dir, lastReservedPrefix+strconv.Itoa(part))
	if err := overwrite(last, a.String()); err != nil {
		return false, errors.Join(fmt.Errorf("write last reserved address: %w", err), s.remove(a))
	}
	if err := s.index(o, a); err != nil {
		return false, errors.Join(err, s.remove(a))
	}
	return true, nil
}

// overwrite changes a file in place. To empty a file first has some file systems write it to disk at once (ext4's
// auto_da_alloc); what a crash in between leaves is an address, or nothing that is read as one.
func overwrite(name, text string) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil || info.Size() == int64(len(text)) {
		return err
	}
	return f.Truncate(int64(len(text)))
}

// held reports whether an address has an owner. A lease without one is what a crash of another implementation left:
// it is removed, since whoever was writing it does not hold the lock any more.
func (s *store) held(a netip.Addr) (bool, error) {
	info, err := os.Lstat(s.path(a))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look at lease of %s: %w", a, err)
	}
	if !info.Mode().IsRegular() || info.Size() > 0 {
		return true, nil
	}
	return false, s.remove(a)
}

// last returns the address last handed out from a range set; the zero Addr if none is known.
func (s *store) last(part int) netip.Addr {
	data, err := os.ReadFile(filepath.Join(s.dir, lastReservedPrefix+strconv.Itoa(part)))
	if err != nil {
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(strings.TrimSpace(string(data)))
	if err != nil {
		return netip.Addr{} // costs round robin this one time
	}
	return a.Unmap()
}

// release frees what an owner holds and returns the addresses. Leases that old versions wrote name the container
// alone; they are freed if there is none that names the interface too.
func (s *store) release(o owner) ([]netip.Addr, error) {
	addrs, err := s.find(o)
	if err == nil && len(addrs) == 0 {
		o = owner{container: o.container}
		addrs, err = s.find(o)
	}
	if err != nil || len(addrs) == 0 {
		return nil, err
	}
	if err := s.unstamp(); err != nil {
		return nil, err
	}
	for _, a := range addrs {
		if err := s.remove(a); err != nil {
			return nil, err
		}
	}
	return addrs, s.unindex(o)
}

func (s *store) remove(a netip.Addr) error {
	if err := os.Remove(s.path(a)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove lease of %s: %w", a, err)
	}
	return nil
}
