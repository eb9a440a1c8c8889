// SPDX-License-Identifier: Apache-2.0

package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Streams that conmon marks packets with in their first byte (conmon, src/conn_sock.c).
const (
	stdoutPacket = 2
	stderrPacket = 3
)

// maxPacket is larger than any packet of conmon, which reads the container's output 8 KiB at a time.
const maxPacket = 32 << 10

// AttachStreams are the user's side of an attached container; any of them may be nil.
type AttachStreams struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Resize         <-chan Size
}

// Attach connects streams with a running container until it ends, ctx ends, or the user's side is gone.
func (r *Runner) Attach(ctx context.Context, c Container, s AttachStreams) error {
	conn, err := dialAttach(c.Bundle)
	if err != nil {
		return fmt.Errorf("attach to container %s: %w", c.ID, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	ended := make(chan struct{})
	defer close(ended)
	go r.resizeContainer(c, s.Resize, ended)
	if s.Stdin != nil {
		go func() {
			_, _ = io.Copy(struct{ io.Writer }{conn}, s.Stdin)
			if c.StdinOnce {
				// The first to attach to a container with stdinOnce closes its input with their own.
				_ = conn.CloseWrite()
			}
		}()
	}
	return receive(ctx, conn, s)
}

// receive copies packets to the stream they are marked for.
func receive(ctx context.Context, conn *net.UnixConn, s AttachStreams) error {
	buf := make([]byte, maxPacket)
	for {
		n, err := conn.Read(buf)
		if n > 1 {
			to := s.Stdout
			if buf[0] == stderrPacket {
				to = s.Stderr
			}
			if to != nil && (buf[0] == stdoutPacket || buf[0] == stderrPacket) {
				if _, err := to.Write(buf[1:n]); err != nil {
					return nil
				}
			}
		}
		switch {
		case ctx.Err() != nil || n == 0 && err == nil || errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET):
			return nil
		case err != nil:
			return fmt.Errorf("read container output: %w", err)
		}
	}
}

// dialAttach connects to conmon's socket by way of the folder's descriptor: the whole path may be longer than the 107
// bytes that an address has room for.
func dialAttach(bundle string) (*net.UnixConn, error) {
	dir, err := os.Open(bundle)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	path := fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), attachSocket)
	return net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: path, Net: "unixpacket"})
}

// Control messages of conmon (src/ctrl.c): a kind and two numbers.
const (
	controlResize = 1
	controlReopen = 2
)

func (r *Runner) resizeContainer(c Container, sizes <-chan Size, ended <-chan struct{}) {
	for {
		select {
		case <-ended:
			return
		case s, ok := <-sizes:
			if !ok {
				return
			}
			if err := control(c, controlResize, int(s.Height), int(s.Width)); err != nil {
				return
			}
		}
	}
}

// ReopenLog makes a container's monitor open its log file by name again, after it was moved away.
func (r *Runner) ReopenLog(c Container) error {
	if err := control(c, controlReopen, 0, 0); err != nil {
		return fmt.Errorf("reopen log of container %s: %w", c.ID, err)
	}
	return nil
}

// control writes to the monitor's FIFO; one that nobody reads means that the monitor is gone.
func control(c Container, kind, a, b int) error {
	f, err := os.OpenFile(filepath.Join(c.Bundle, controlFIFO), os.O_WRONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = fmt.Fprintf(f, "%d %d %d\n", kind, a, b)
	return err
}
