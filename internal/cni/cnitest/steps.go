// SPDX-License-Identifier: Apache-2.0

package cnitest

import (
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Steps is a program whose system calls that change something are counted, those of all its threads and children as one
// series, so that it can be killed before any of them. strace kills as well, but it counts for each thread anew, and what a
// thread with few calls does is passed over.
type Steps struct {
	pid    int
	at     atomic.Int64 // calls until it is killed; none when it is zero or less
	made   atomic.Int64
	killed atomic.Bool
	ended  chan syscall.WaitStatus
}

// StartSteps starts a program in a network namespace, or in that of the test if ns is empty, and kills it before the nth call.
// With n = 0 it is KillAt that says when.
func StartSteps(ns string, args, env []string, files [3]*os.File, n int) (*Steps, error) {
	s := &Steps{ended: make(chan syscall.WaitStatus, 1)}
	s.at.Store(int64(n))
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: tracing is a thread's, and so is the namespace
		err := s.start(ns, args, env, files)
		started <- err
		if err == nil {
			s.follow()
		}
	}()
	return s, <-started
}

// KillAt kills the program before the nth call from now, which may be one of its children's; those go on.
func (s *Steps) KillAt(n int) {
	s.made.Store(0)
	s.at.Store(int64(n))
}

// Made returns the calls since KillAt.
func (s *Steps) Made() int { return int(s.made.Load()) }

// Kill ends the program.
func (s *Steps) Kill() { _ = unix.Kill(s.pid, unix.SIGKILL) }

// Wait waits for the program's end, once, and reports whether it was KillAt's.
func (s *Steps) Wait() (status syscall.WaitStatus, killed bool) {
	status = <-s.ended
	return status, s.killed.Load()
}

func (s *Steps) start(ns string, args, env []string, files [3]*os.File) error {
	if ns != "" {
		target, err := os.Open(ns)
		if err != nil {
			return err
		}
		defer target.Close()
		if err := unix.Setns(int(target.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter network namespace %s: %w", ns, err)
		}
	}
	p, err := os.StartProcess(args[0], args, &os.ProcAttr{Env: env, Files: files[:], Sys: &syscall.SysProcAttr{Ptrace: true}})
	if err != nil {
		return err
	}
	s.pid = p.Pid
	_ = p.Release() // it is waited for by the thread that traces it
	if _, err := unix.Wait4(s.pid, nil, unix.WALL|unix.WNOTHREAD, nil); err != nil {
		return fmt.Errorf("wait for %s: %w", args[0], err)
	}
	const all = unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_TRACEFORK | unix.PTRACE_O_TRACEVFORK | unix.PTRACE_O_TRACEEXEC | unix.PTRACE_O_EXITKILL
	if err := unix.PtraceSetOptions(s.pid, all); err != nil {
		return fmt.Errorf("trace %s: %w", args[0], err)
	}
	return unix.PtraceSyscall(s.pid, 0)
}

// follow lets the program and what it starts run until all have ended, and says how the program did.
func (s *Steps) follow() {
	seen := map[int]bool{s.pid: true}
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WALL|unix.WNOTHREAD, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return
		}
		if !status.Stopped() {
			if pid == s.pid {
				s.ended <- syscall.WaitStatus(status)
			}
			delete(seen, pid)
			continue
		}
		deliver := 0
		switch signal := status.StopSignal(); {
		case signal == unix.SIGTRAP|0x80:
			if changing(pid) && s.made.Add(1) == s.at.Load() {
				s.killed.Store(true)
				s.Kill()
			}
		case signal == unix.SIGTRAP && status.TrapCause() > 0: // a thread or a process more
		case signal == unix.SIGSTOP && !seen[pid]: // its begin
		default:
			deliver = int(signal)
		}
		seen[pid] = true
		_ = unix.PtraceSyscall(pid, deliver) // fails when it was killed
	}
}

// systemCall is the kernel's struct ptrace_syscall_info at the begin of a call.
type systemCall struct {
	op            uint8
	_             [3]uint8
	_             uint32
	_, _          uint64
	number        uint64
	args          [6]uint64
	_, _          uint64
	neverTooShort [4]uint64
}

// changing reports whether a stopped thread is about to do a call by which plugins change something, or take a step towards it.
func changing(pid int) bool {
	const getSyscallInfo, entry = 0x420e, 1
	var c systemCall
	_, _, failed := unix.Syscall6(unix.SYS_PTRACE, getSyscallInfo, uintptr(pid), unsafe.Sizeof(c), uintptr(unsafe.Pointer(&c)), 0, 0)
	if failed != 0 || c.op != entry {
		return false
	}
	switch c.number {
	case unix.SYS_OPENAT:
		return c.args[2]&(unix.O_CREAT|unix.O_TRUNC) != 0
	case unix.SYS_SENDTO, unix.SYS_SENDMSG, unix.SYS_WRITE, unix.SYS_PWRITE64, unix.SYS_MKDIRAT, unix.SYS_LINKAT, unix.SYS_SYMLINKAT,
		unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2, unix.SYS_UNLINKAT, unix.SYS_FTRUNCATE, unix.SYS_UTIMENSAT, unix.SYS_FLOCK, unix.SYS_SETNS, unix.SYS_EXECVE:
		return true
	}
	return false
}
