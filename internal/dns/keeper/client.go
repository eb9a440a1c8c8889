// SPDX-License-Identifier: Apache-2.0

package keeper

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
)

// Client is a server's connection to its keeper. While it is open the server is there.
type Client struct{ conn *net.UnixConn }

// Reach connects to the keeper at a path and returns the sockets that it keeps. Nobody there is an error.
func Reach(path string) (*Client, []*os.File, error) {
	conn, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		return nil, nil, err
	}
	var kept []*os.File
	for {
		what, fds, err := receive(conn)
		for _, fd := range fds {
			kept = append(kept, os.NewFile(uintptr(fd), "kept socket"))
		}
		switch {
		case err != nil:
			for _, f := range kept {
				_ = f.Close()
			}
			_ = conn.Close()
			return nil, nil, fmt.Errorf("take over what %s keeps: %w", path, err)
		case what == all:
			return &Client{conn}, kept, nil
		}
	}
}

// Start begins a keeper at a path, in a folder that nobody else can enter, and connects to it. run starts the process that
// calls Listener and Keep with the file.
func Start(path string, run func(socket *os.File) error) (*Client, error) {
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("start keeper of dns sockets: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("start keeper of dns sockets: %w", err)
	}
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		return nil, fmt.Errorf("start keeper of dns sockets: %w", err)
	}
	defer l.Close()
	l.SetUnlinkOnClose(false)
	file, err := l.File()
	if err != nil {
		return nil, fmt.Errorf("start keeper of dns sockets: %w", err)
	}
	defer file.Close()
	if err := run(file); err != nil {
		return nil, fmt.Errorf("start keeper of dns sockets: %w", err)
	}
	c, _, err := Reach(path)
	return c, err
}

// Hold has the keeper keep these sockets, in the place of those that it had.
func (c *Client) Hold(sockets []syscall.Conn) error {
	for _, s := range sockets {
		raw, err := s.SyscallConn()
		if err != nil {
			return fmt.Errorf("have sockets kept: %w", err)
		}
		var sent error
		if err := raw.Control(func(fd uintptr) { sent = sendSocket(c.conn, int(fd)) }); err != nil || sent != nil {
			return fmt.Errorf("have sockets kept: %w", errors.Join(err, sent))
		}
	}
	if _, err := c.conn.Write([]byte{all}); err != nil {
		return fmt.Errorf("have sockets kept: %w", err)
	}
	return nil
}

// Gone returns when the keeper has ended, or the connection was closed.
func (c *Client) Gone() {
	for {
		if _, _, err := receive(c.conn); err != nil {
			return
		}
	}
}

// End ends the keeper.
func (c *Client) End() {
	_, _ = c.conn.Write([]byte{quit})
	c.Close()
}

// Close leaves the keeper alone: it keeps the sockets for the next process.
func (c *Client) Close() { _ = c.conn.Close() }
