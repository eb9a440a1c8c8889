// SPDX-License-Identifier: Apache-2.0

package cri

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"eastwest/internal/cri/rootfs"
	"eastwest/internal/cri/runner"
)

// StopContainer asks a container to end and, after the timeout, makes it. One that is not running is no error.
func (s *Server) StopContainer(ctx context.Context, req *runtimeapi.StopContainerRequest) (*runtimeapi.StopContainerResponse, error) {
	c, err := s.container(req.GetContainerId())
	if errors.Is(err, errNotFound) {
		return &runtimeapi.StopContainerResponse{}, nil
	}
	if err != nil {
		return nil, err
	}
	if err := s.stopContainer(ctx, c, time.Duration(max(req.GetTimeout(), 0))*time.Second); err != nil {
		return nil, fmt.Errorf("failed to stop container %s: %w", c.rec.ID, err)
	}
	return &runtimeapi.StopContainerResponse{}, nil
}

// stopContainer returns when the container has ended, or with an error. It does not hold op while it waits, so that a
// second call, with a shorter grace, takes effect.
func (s *Server) stopContainer(ctx context.Context, c *container, grace time.Duration) error {
	c.op.Lock()
	rec := c.record()
	c.op.Unlock()
	if rec.State != stateRunning {
		return nil
	}
	if grace > 0 {
		ended, err := ask(ctx, c, rec, grace)
		if ended || err != nil {
			return err
		}
	}
	if err := s.killContainer(rec); err != nil {
		return err
	}
	ended, err := waitEnded(ctx, c, cleanupTimeout)
	if err == nil && !ended {
		err = errors.New("the container does not end: a process of it may be stuck in the kernel")
	}
	return err
}

func waitEnded(ctx context.Context, c *container, limit time.Duration) (bool, error) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-c.exited:
		return true, nil
	case <-timer.C:
		return false, nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

func signalContainer(rec containerRecord, sig syscall.Signal) error {
	p, err := runner.OpenProcess(rec.PID, rec.PIDStart)
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	if err != nil {
		return err
	}
	defer p.Close()
	return p.Signal(sig)
}

// killContainer ends all processes of a container at once.
func (s *Server) killContainer(rec containerRecord) error {
	err := signalContainer(rec, unix.SIGKILL)
	if rec.SharedPID {
		err = errors.Join(err, s.cgroups.Kill(rec.CgroupsPath))
	}
	return err
}

// stopSignal is what the container, or its image, wants to be asked to end with.
func stopSignal(rec containerRecord) syscall.Signal {
	name := rec.StopSignal
	if own := rec.Config.GetStopSignal(); own != runtimeapi.Signal_RUNTIME_DEFAULT {
		name = own.String()
	}
	if sig, ok := signalNumber(name); ok {
		return sig
	}
	return unix.SIGTERM
}

// signalNumber understands names ("SIGTERM", "TERM"), numbers, and CRI's names of real-time signals (SIGRTMINPLUS3).
func signalNumber(name string) (syscall.Signal, bool) {
	if n, err := strconv.Atoi(name); err == nil && n > 0 && n < 65 {
		return syscall.Signal(n), true
	}
	name = strings.ToUpper(name)
	if name == "" {
		return 0, false
	}
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	if sig := unix.SignalNum(name); sig != 0 {
		return sig, true
	}
	const minimum, maximum = 34, 64 // SIGRTMIN and SIGRTMAX as the C library shows them
	rest, below := strings.CutPrefix(name, "SIGRTMAX")
	if !below {
		var ok bool
		if rest, ok = strings.CutPrefix(name, "SIGRTMIN"); !ok {
			return 0, false
		}
	}
	offset := 0
	if rest = strings.TrimLeft(strings.NewReplacer("PLUS", "", "MINUS", "").Replace(rest), "+-"); rest != "" {
		n, err := strconv.Atoi(rest)
		if err != nil || n > maximum-minimum {
			return 0, false
		}
		offset = n
	}
	if below {
		return syscall.Signal(maximum - offset), true
	}
	return syscall.Signal(minimum + offset), true
}

// RemoveContainer removes a container, killing it when it runs. One that is not there is no error.
func (s *Server) RemoveContainer(ctx context.Context, req *runtimeapi.RemoveContainerRequest) (*runtimeapi.RemoveContainerResponse, error) {
	c, err := s.container(req.GetContainerId())
	if errors.Is(err, errNotFound) {
		return &runtimeapi.RemoveContainerResponse{}, nil
	}
	if err != nil {
		return nil, err
	}
	if err := s.stopContainer(ctx, c, 0); err != nil {
		return nil, fmt.Errorf("failed to remove container %s: %w", c.rec.ID, err)
	}
	c.op.Lock()
	defer c.op.Unlock()
	if err := s.removeContainer(ctx, c); err != nil {
		return nil, fmt.Errorf("failed to remove container %s: %w", c.rec.ID, err)
	}
	s.emit(c.rec.ID, c.rec.SandboxID, runtimeapi.ContainerEventType_CONTAINER_DELETED_EVENT)
	return &runtimeapi.RemoveContainerResponse{}, nil
}

// removeContainer removes all that there is of a container that does not run, whatever stage it is in; the record goes
// last, so that an interrupted removal can be repeated.
func (s *Server) removeContainer(ctx context.Context, c *container) error {
	rec := c.record()
	if err := s.runnerOf(rec.Handler).Delete(ctx, rec.ID); err != nil {
		return err
	}
	if err := s.runnerOf(rec.Handler).Forget(s.runnable(rec)); err != nil {
		return err
	}
	if err := s.cgroups.Empty(rec.CgroupsPath); err != nil { // of processes that nobody recorded
		return err
	}
	if err := s.unmountImages(rec.ID); err != nil {
		return err
	}
	if err := rootfs.Unmount(s.rootfsOf(rec.ID)); err != nil {
		return err
	}
	if err := s.images.Unpin(rec.ID); err != nil {
		return err
	}
	for _, dir := range []string{s.bundle(rec.ID), filepath.Join(s.containerRecords(), rec.ID)} {
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("remove container folder: %w", err)
		}
	}
	s.mu.Lock()
	delete(s.containers, rec.ID)
	s.mu.Unlock()
	s.usage.forget(rec.ID)
	return nil
}
