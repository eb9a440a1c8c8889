// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"fmt"
	"net"
	"strconv"

	"golang.org/x/sys/unix"
)

// root returns the process of a connection's other side, which must be root's, as its folder of /proc.
func root(conn *net.UnixConn) (process string, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return "", fmt.Errorf("look who calls: %w", err)
	}
	var peer *unix.Ucred
	var failed error
	if err := raw.Control(func(fd uintptr) { peer, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return "", fmt.Errorf("look who calls: %w", err)
	}
	if failed != nil {
		return "", fmt.Errorf("look who calls: %w", failed)
	}
	if peer.Uid != 0 {
		return "", fmt.Errorf("user %d is not root", peer.Uid)
	}
	if peer.Pid == 0 {
		return "", fmt.Errorf("its process cannot be seen from here")
	}
	return "/proc/" + strconv.Itoa(int(peer.Pid)), nil
}

// namespaces are those that decide what a path and an interface's name mean.
type namespaces struct{ network, mount, user inode }

type inode struct{ dev, number uint64 }

func namespacesOf(process string) (n namespaces, err error) {
	for _, one := range []struct {
		name string
		to   *inode
	}{{"net", &n.network}, {"mnt", &n.mount}, {"user", &n.user}} {
		path := process + "/ns/" + one.name
		var s unix.Stat_t
		if err := unix.Stat(path, &s); err != nil {
			return n, fmt.Errorf("look at namespace %s: %w", path, err)
		}
		*one.to = inode{s.Dev, s.Ino}
	}
	return n, nil
}
