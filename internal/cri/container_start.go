// SPDX-License-Identifier: Apache-2.0

package cri

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"eastwest/internal/cri/runner"
)

// Reasons of a container's end, as Kubernetes shows them.
const (
	reasonCompleted  = "Completed"
	reasonError      = "Error"
	reasonOOMKilled  = "OOMKilled"
	reasonStartError = "StartError"
	reasonUnknown    = "ContainerStatusUnknown"
)

// startErrorCode is the exit code of a container that could not be started.
const startErrorCode = 128

// StartContainer starts the process of a created container. One that cannot be started has exited, with the reason.
func (s *Server) StartContainer(ctx context.Context, req *runtimeapi.StartContainerRequest) (*runtimeapi.StartContainerResponse, error) {
	c, err := s.container(req.GetContainerId())
	if err != nil {
		return nil, err
	}
	c.op.Lock()
	defer c.op.Unlock()
	rec := c.record()
	if rec.State != stateCreated {
		return nil, status.Errorf(codes.FailedPrecondition, "container %s is in state %s: only a created container can be started", rec.ID, criState(rec.State))
	}
	if b, err := s.sandbox(rec.SandboxID); err != nil || !b.record().Ready {
		return nil, status.Errorf(codes.FailedPrecondition, "sandbox container %q is not running", rec.SandboxID)
	}
	if err := s.launch(ctx, c); err != nil {
		s.failedStart(c, err)
		return nil, fmt.Errorf("failed to start container %s: %w", rec.ID, err)
	}
	s.emit(rec.ID, rec.SandboxID, runtimeapi.ContainerEventType_CONTAINER_STARTED_EVENT)
	s.watch(c)
	return &runtimeapi.StartContainerResponse{}, nil
}

// launch makes the process and lets it begin. Between the first and the last record it may exist without being known.
func (s *Server) launch(ctx context.Context, c *container) error {
	rec := c.record()
	if rec.LogPath != "" {
		if err := os.MkdirAll(filepath.Dir(rec.LogPath), 0o755); err != nil {
			return fmt.Errorf("make folder of log: %w", err)
		}
	}
	if err := s.changeContainer(c, func(r *containerRecord) { r.State = stateStarting }); err != nil {
		return err
	}
	pid, monitor, err := s.runnerOf(rec.Handler).Create(ctx, s.runnable(rec))
	if err != nil {
		return err
	}
	start, err1 := runner.StartTime(pid)
	monitorStart, err2 := runner.StartTime(monitor)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	started := time.Now() // before it begins: it may have ended when runc is back
	if err := s.runnerOf(rec.Handler).Start(ctx, rec.ID, pid); err != nil {
		return err
	}
	return s.changeContainer(c, func(r *containerRecord) {
		r.State, r.Started = stateRunning, started
		r.PID, r.Monitor, r.PIDStart, r.MonitorStart = pid, monitor, start, monitorStart
	})
}

// failedStart records why a container did not start and removes what there is of it.
func (s *Server) failedStart(c *container, cause error) {
	ctx, cancel := context.WithTimeout(context.Background(), cleanupTimeout)
	defer cancel()
	rec := c.record()
	err := errors.Join(s.runnerOf(rec.Handler).Delete(ctx, rec.ID), s.runnerOf(rec.Handler).Forget(s.runnable(rec)), s.changeContainer(c, func(r *containerRecord) {
		r.State, r.Finished, r.ExitCode = stateExited, time.Now(), startErrorCode
		r.Reason, r.Message = reasonStartError, cause.Error()
	}))
	if err != nil {
		s.log.Error("clean up container that failed to start", "container", rec.ID, "err", err)
	}
	close(c.exited)
	s.emit(rec.ID, rec.SandboxID, runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT)
}

// watch follows a running container to its end, in the background.
func (s *Server) watch(c *container) {
	s.work.Go(func() {
		rec := c.record()
		exit, err := s.runnerOf(rec.Handler).Await(s.life, s.runnable(rec), rec.PID, rec.Monitor, rec.PIDStart, rec.MonitorStart)
		if s.life.Err() != nil {
			return
		}
		if err != nil {
			s.log.Error("watch container", "container", rec.ID, "err", err)
			exit = runner.Exit{Code: runner.UnknownExit, At: time.Now()}
		}
		s.finish(c, exit)
	})
}

// finish records a container's end, tells about it, and frees what the ended container holds.
func (s *Server) finish(c *container, exit runner.Exit) {
	rec := c.record()
	reason, message := exitReason(exit)
	err := s.changeContainer(c, func(r *containerRecord) {
		r.State, r.Finished, r.ExitCode, r.Reason, r.Message = stateExited, exit.At, exit.Code, reason, message
		// The times of files, of which the end is one, are some milliseconds behind the clock.
		if r.Finished.Before(r.Started) {
			r.Finished = r.Started
		}
	})
	if err != nil {
		s.log.Error("record end of container", "container", rec.ID, "err", err)
	}
	if rec.SharedPID {
		// Its end did not end what it started; nobody else would.
		if err := s.cgroups.Kill(rec.CgroupsPath); err != nil {
			s.log.Error("end processes of container", "container", rec.ID, "err", err)
		}
	}
	close(c.exited)
	s.emit(rec.ID, rec.SandboxID, runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT)
	if err := s.runnerOf(rec.Handler).Delete(s.life, rec.ID); err != nil && s.life.Err() == nil {
		s.log.Error("free ended container", "container", rec.ID, "err", err)
	}
}

func exitReason(exit runner.Exit) (reason, message string) {
	switch {
	case !exit.Known:
		return reasonUnknown, "the container's monitor was killed before the container ended: its exit code is not known"
	case exit.OOM && exit.Code != 0:
		return reasonOOMKilled, ""
	case exit.Code == 0:
		return reasonCompleted, ""
	}
	return reasonError, ""
}
