// SPDX-License-Identifier: Apache-2.0

// Package socketfile listens on sockets that are files, of which one process at a time has each.
package socketfile

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Listen listens at path ("unix" or "unixpacket") for the socket's owner alone, and makes its folder. A socket that a process left
// behind is replaced; one that is served is an error, which names what it is for. The caller closes the listener, and the
// socket goes with it.
func Listen(network, path, what string) (*net.UnixListener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("make folder of socket: %w", err)
	}
	if conn, err := net.DialTimeout(network, path, time.Second); err == nil {
		conn.Close()
		return nil, fmt.Errorf("listen on %s: another %s serves there; stop it first", path, what)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("replace socket: %w", err)
	}
	listener, err := net.ListenUnix(network, &net.UnixAddr{Name: path, Net: network})
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		listener.Close()
		return nil, fmt.Errorf("protect socket: %w", err)
	}
	return listener, nil
}
