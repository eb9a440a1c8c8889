// SPDX-License-Identifier: Apache-2.0

package runner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// execFIFO is where the first process of a container that runc made waits: it writes a byte as soon as somebody reads, and goes on.
const execFIFO = "exec.fifo"

// programTimeout bounds the wait for a program that is about to run, which takes a millisecond.
const programTimeout = time.Second

// Start lets a created container's process, pid, begin. Of runc it does what its command start would, without starting runc,
// which takes as long as half of making the container; another runtime, or a runc that keeps it otherwise, is asked itself.
func (r *Runner) Start(ctx context.Context, id string, pid int) error {
	if r.name == "runc" {
		err := r.release(ctx, filepath.Join(r.root, id, execFIFO), pid)
		if !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return r.call(ctx, nil, "start", id)
}

func (r *Runner) release(ctx context.Context, path string, pid int) error {
	fifo, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("start container: %w", err)
	}
	defer fifo.Close()
	// With somebody who may write, reading waits for the process instead of finding nobody there.
	other, err := os.OpenFile(path, os.O_RDWR|syscall.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("start container: %w", err)
	}
	defer other.Close()
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	go func() {
		_ = awaitProcess(ctx, pid, "") // whatever ends the wait, there is nothing more to wait for
		_ = fifo.SetReadDeadline(time.Now())
	}()
	word := make([]byte, 1)
	if _, err := fifo.Read(word); err != nil && !pending(fifo, word) {
		if ctx.Err() != nil {
			err = ctx.Err()
		} else if errors.Is(err, os.ErrDeadlineExceeded) {
			err = errors.New("its process has ended")
		}
		return fmt.Errorf("start container: wait for its process: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("start container: %w", err)
	}
	awaitProgram(fifo, other)
	return nil
}

// awaitProgram returns when the container's program is there. Until then the process is runc's own, and loses a signal that is meant for
// the program. The pipe's last writer is that process, and becoming the program closes its end.
func awaitProgram(fifo, other *os.File) {
	_ = other.Close()
	_ = fifo.SetReadDeadline(time.Now().Add(programTimeout))
	_, _ = fifo.Read(make([]byte, 1)) // nothing, in any case
}

// pending reads what a process wrote just before its end.
func pending(fifo *os.File, word []byte) bool {
	n := 0
	conn, err := fifo.SyscallConn()
	if err == nil {
		err = conn.Control(func(fd uintptr) { n, _ = unix.Read(int(fd), word) })
	}
	return err == nil && n > 0
}
