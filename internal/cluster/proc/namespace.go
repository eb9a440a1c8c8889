// SPDX-License-Identifier: Apache-2.0

package proc

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// Namespace is the identity of a namespace: the device and inode of its nsfs file.
type Namespace struct {
	Dev, Ino uint64
}

// nsfsMagic is the type of the file system that namespace files live on (linux/magic.h).
const nsfsMagic = 0x6e736673

// NamespaceAt identifies the namespace that is pinned at path, or says that none is.
func NamespaceAt(path string) (Namespace, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return Namespace{}, fmt.Errorf("namespace %s: %w", path, err)
	}
	if fs.Type != nsfsMagic {
		return Namespace{}, fmt.Errorf("namespace %s: %w", path, os.ErrNotExist)
	}
	return stat(path)
}

func stat(path string) (Namespace, error) {
	var s unix.Stat_t
	if err := unix.Stat(path, &s); err != nil {
		return Namespace{}, fmt.Errorf("namespace %s: %w", path, err)
	}
	return Namespace{Dev: uint64(s.Dev), Ino: s.Ino}, nil
}

// kinds are the namespaces that tell where a process belongs.
var kinds = [...]string{"net", "mnt", "uts"}

// Inside lists the processes that are in any of the namespaces, by their net, mnt or uts namespace. Namespaces that the
// caller itself is in are left out of account, and so is the caller: whoever kills what is listed cannot hit the host.
func Inside(namespaces map[Namespace]bool) ([]ID, error) {
	namespaces = maps.Clone(namespaces)
	for _, kind := range kinds {
		own, err := stat(filepath.Join("/proc/self/ns", kind))
		if err != nil {
			return nil, err
		}
		delete(namespaces, own)
	}
	if len(namespaces) == 0 {
		return nil, nil
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var found []ID
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid == os.Getpid() || !inAny(pid, namespaces) {
			continue
		}
		if id, err := Of(pid); err == nil {
			found = append(found, id)
		}
	}
	return found, nil
}

func inAny(pid int, namespaces map[Namespace]bool) bool {
	for _, kind := range kinds {
		ns, err := stat(filepath.Join("/proc", strconv.Itoa(pid), "ns", kind))
		if err == nil && namespaces[ns] {
			return true
		}
	}
	return false
}
