// SPDX-License-Identifier: Apache-2.0

// Package keeper keeps the sockets of a DNS server open while nobody serves them, in a small process of its own.
//
// What reaches a socket meanwhile waits in it, and is answered by the server's next process, which takes the sockets over.
// A keeper whose server has gone for longer than a resolver waits ends, and the sockets with it.
package keeper

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Messages, each of one byte. A socket goes with the first.
const (
	one  = 's' // a socket
	all  = 'e' // those were all
	quit = 'q' // end
)

// Keep serves l until no server has been there for so long, or one said that it needs no keeper any more. It closes l.
func Keep(ctx context.Context, l *net.UnixListener, patience time.Duration) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	k := &keeping{patience: patience, end: cancel, timer: time.AfterFunc(patience, cancel)}
	defer k.replace(nil)
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	for {
		conn, err := l.AcceptUnix()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("keep sockets of dns: %w", err)
		}
		k.came()
		go func() {
			defer k.went()
			defer conn.Close()
			if k.send(conn) == nil {
				k.listen(conn)
			}
		}()
	}
}

// keeping is what is kept, and for whom.
type keeping struct {
	patience time.Duration
	end      func()

	mu      sync.Mutex
	held    []int
	servers int
	timer   *time.Timer // runs while there is no server
}

func (k *keeping) came() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.servers++
	k.timer.Stop()
}

func (k *keeping) went() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.servers--; k.servers == 0 {
		k.timer.Reset(k.patience)
	}
}

// send gives a server what is kept.
func (k *keeping) send(conn *net.UnixConn) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, fd := range k.held {
		if err := sendSocket(conn, fd); err != nil {
			return err
		}
	}
	_, err := conn.Write([]byte{all})
	return err
}

// listen keeps what a server has kept in the place of what was, until it goes.
func (k *keeping) listen(conn *net.UnixConn) {
	var next []int
	defer func() { closeAll(next) }()
	for {
		what, fds, err := receive(conn)
		next = append(next, fds...)
		switch {
		case err != nil:
			return
		case what == all:
			k.replace(next)
			next = nil
		case what == quit:
			k.end()
		}
	}
}

func (k *keeping) replace(next []int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	closeAll(k.held)
	k.held = slices.Clone(next)
}

func closeAll(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
}

func sendSocket(conn *net.UnixConn, fd int) error {
	_, _, err := conn.WriteMsgUnix([]byte{one}, unix.UnixRights(fd), nil)
	return err
}

// receive reads one message, and the sockets that came with it.
func receive(conn *net.UnixConn) (what byte, fds []int, err error) {
	var message [1]byte
	rights := make([]byte, unix.CmsgSpace(4))
	n, rightsLen, _, _, err := conn.ReadMsgUnix(message[:], rights)
	if err != nil || n == 0 {
		return 0, nil, errors.Join(err, errors.New("the other side has gone"))
	}
	controls, err := unix.ParseSocketControlMessage(rights[:rightsLen])
	if err != nil {
		return 0, nil, fmt.Errorf("read sockets: %w", err)
	}
	for i := range controls {
		got, err := unix.ParseUnixRights(&controls[i])
		if err != nil {
			return 0, fds, fmt.Errorf("read sockets: %w", err)
		}
		fds = append(fds, got...)
	}
	for _, fd := range fds {
		unix.CloseOnExec(fd)
	}
	return message[0], fds, nil
}

// Listener returns the listener that whoever started this process left open as a file.
func Listener(file *os.File) (*net.UnixListener, error) {
	l, err := net.FileListener(file)
	if err != nil {
		return nil, fmt.Errorf("take the keeper's socket over: %w", err)
	}
	_ = file.Close()
	if unixListener, ok := l.(*net.UnixListener); ok {
		return unixListener, nil
	}
	_ = l.Close()
	return nil, errors.New("take the keeper's socket over: it is no Unix socket")
}
