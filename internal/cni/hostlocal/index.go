// SPDX-License-Identifier: Apache-2.0

package hostlocal

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// The index answers "what does this container hold" without reading every lease: the folder .owners has symbolic links
// HASH.0, HASH.1, … to an owner's leases, HASH being that of the lease's text.
//
// It is only an index: the modification time of its file "stamp" is set to that of the leases' folder after each change,
// so when another program changed the leases, the times differ and the index is made anew from them. A change of ours first
// takes the stamp away, for the clock of these times may not tick between two changes: a crash would leave half an index.
//
// Where none can be made, on a file system that is full or read-only, there is none: what is held can be looked up and freed.

func (s *store) indexDir() string { return filepath.Join(s.dir, ".owners") }

func (s *store) stamp() string { return filepath.Join(s.indexDir(), "stamp") }

func (s *store) link(o owner, n int) string {
	sum := sha256.Sum256([]byte(o.String()))
	return filepath.Join(s.indexDir(), hex.EncodeToString(sum[:16])+"."+strconv.Itoa(n))
}

func (s *store) ensureIndex() error {
	leases, err := os.Stat(s.dir)
	if err != nil {
		return fmt.Errorf("look at folder of leases: %w", err)
	}
	index, err := os.Stat(s.stamp())
	if err == nil && index.ModTime().Equal(leases.ModTime()) {
		return nil
	}
	return s.rebuildIndex()
}

// unstamp says that the index may not agree with the leases until it is stamped again.
func (s *store) unstamp() error {
	if s.unindexed {
		return nil
	}
	if err := os.Chtimes(s.stamp(), time.Time{}, time.Unix(0, 0)); err != nil {
		return fmt.Errorf("stamp index of leases: %w", err)
	}
	return nil
}

func (s *store) rebuildIndex() error {
	err := s.makeIndex()
	s.unindexed = errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.EROFS)
	if s.unindexed {
		return nil
	}
	return err
}

func (s *store) makeIndex() error {
	if err := os.Remove(s.stamp()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove index of leases: %w", err)
	}
	if err := os.RemoveAll(s.indexDir()); err != nil {
		return fmt.Errorf("remove index of leases: %w", err)
	}
	if err := os.Mkdir(s.indexDir(), 0o755); err != nil {
		return fmt.Errorf("make index of leases: %w", err)
	}
	all, err := s.leases()
	if err != nil {
		return err
	}
	for _, l := range all {
		if err := s.addLink(l.owner, l.addr); err != nil {
			return err
		}
	}
	if err := os.WriteFile(s.stamp(), nil, 0o600); err != nil {
		return fmt.Errorf("stamp index of leases: %w", err)
	}
	return s.stampIndex()
}

// stampIndex says that the index agrees with the leases.
func (s *store) stampIndex() error {
	if s.unindexed {
		return nil
	}
	leases, err := os.Stat(s.dir)
	if err != nil {
		return fmt.Errorf("look at folder of leases: %w", err)
	}
	if err := os.Chtimes(s.stamp(), time.Time{}, leases.ModTime()); err != nil {
		return fmt.Errorf("stamp index of leases: %w", err)
	}
	return nil
}

func (s *store) index(o owner, a netip.Addr) error {
	if s.unindexed {
		return nil
	}
	if err := s.addLink(o, a); err != nil {
		return err
	}
	return s.stampIndex()
}

func (s *store) addLink(o owner, a netip.Addr) error {
	for n := 0; ; n++ {
		err := os.Symlink(filepath.Join("..", a.String()), s.link(o, n))
		if !errors.Is(err, fs.ErrExist) {
			if err != nil {
				return fmt.Errorf("index lease of %s: %w", a, err)
			}
			return nil
		}
	}
}

// find returns the addresses that an owner holds.
func (s *store) find(o owner) ([]netip.Addr, error) {
	var addrs []netip.Addr
	if s.unindexed {
		all, err := s.leases()
		for _, l := range all {
			if l.owner == o {
				addrs = append(addrs, l.addr)
			}
		}
		return addrs, err
	}
	for n := 0; ; n++ {
		target, err := os.Readlink(s.link(o, n))
		if errors.Is(err, fs.ErrNotExist) {
			return addrs, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read index of leases: %w", err)
		}
		addr, err := netip.ParseAddr(strings.TrimPrefix(target, "../"))
		if err != nil {
			return nil, fmt.Errorf("read index of leases: %w", err)
		}
		addrs = append(addrs, addr)
	}
}

func (s *store) unindex(o owner) error {
	if s.unindexed {
		return nil
	}
	for n := 0; ; n++ {
		err := os.Remove(s.link(o, n))
		if errors.Is(err, fs.ErrNotExist) {
			return s.stampIndex()
		}
		if err != nil {
			return fmt.Errorf("remove index of leases: %w", err)
		}
	}
}
