// SPDX-License-Identifier: Apache-2.0

package cri

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"eastwest/internal/cri/runner"
)

// maxExecOutput bounds what ExecSync keeps of each stream; the rest is read and dropped, as with other runtimes.
const maxExecOutput = 16 << 20 / 2

// ExecSync runs a command in a container and answers with its output.
func (s *Server) ExecSync(ctx context.Context, req *runtimeapi.ExecSyncRequest) (*runtimeapi.ExecSyncResponse, error) {
	rec, process, err := s.execProcess(req.GetContainerId(), req.GetCmd(), false)
	if err != nil {
		return nil, err
	}
	limit := time.Duration(req.GetTimeout()) * time.Second
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	stdout, stderr := &boundedBuffer{limit: maxExecOutput}, &boundedBuffer{limit: maxExecOutput}
	code, err := s.runnerOf(rec.Handler).Exec(ctx, runner.Exec{ID: rec.ID, Process: process, Stdout: stdout, Stderr: stderr})
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, status.Errorf(codes.DeadlineExceeded, "failed to exec in container: timeout %v exceeded: %v", limit, err)
	}
	if err != nil {
		return nil, fmt.Errorf("failed to exec in container %s: %w", rec.ID, err)
	}
	return &runtimeapi.ExecSyncResponse{Stdout: stdout.Bytes(), Stderr: stderr.Bytes(), ExitCode: int32(code)}, nil
}

// execProcess finds a running container and derives a command's process from the container's own.
func (s *Server) execProcess(id string, cmd []string, tty bool) (containerRecord, specs.Process, error) {
	c, err := s.container(id)
	if err != nil {
		return containerRecord{}, specs.Process{}, err
	}
	rec := c.record()
	if len(cmd) == 0 {
		return rec, specs.Process{}, status.Error(codes.InvalidArgument, "no command to run in the container")
	}
	if rec.State != stateRunning {
		return rec, specs.Process{}, status.Errorf(codes.FailedPrecondition, "container %s is in %s state: a command needs a running one", rec.ID, criState(rec.State))
	}
	raw, err := os.ReadFile(filepath.Join(s.bundle(rec.ID), "config.json"))
	if err != nil {
		return rec, specs.Process{}, fmt.Errorf("read specification of container: %w", err)
	}
	var spec specs.Spec
	if err := json.Unmarshal(raw, &spec); err != nil {
		return rec, specs.Process{}, fmt.Errorf("read specification of container %s: %w", rec.ID, err)
	}
	return rec, runner.ExecProcess(*spec.Process, cmd, tty), nil
}

// boundedBuffer keeps the first limit bytes and takes, but drops, the rest.
type boundedBuffer struct {
	bytes.Buffer
	limit int
}

// Write never fails.
func (b *boundedBuffer) Write(p []byte) (int, error) {
	if room := b.limit - b.Len(); room > 0 {
		b.Buffer.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}
