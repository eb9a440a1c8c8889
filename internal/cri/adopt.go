// SPDX-License-Identifier: Apache-2.0

package cri

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"eastwest/internal/cri/runner"
)

// adopt takes over what an earlier server left.
func (s *Server) adopt(ctx context.Context) error {
	sandboxes, brokenSandboxes, err := loadRecords[sandboxRecord](s.sandboxRecords())
	if err != nil {
		return err
	}
	containers, brokenContainers, err := loadRecords[containerRecord](s.containerRecords())
	if err != nil {
		return err
	}
	for _, rec := range sandboxes {
		b := &sandbox{rec: *rec}
		s.sandboxes[rec.ID] = b
		s.adoptSandbox(ctx, b)
	}
	for _, rec := range containers {
		c := &container{rec: *rec, exited: make(chan struct{})}
		s.containers[rec.ID] = c
		s.adoptContainer(ctx, c)
	}
	s.sweep(ctx, brokenSandboxes, brokenContainers)
	return nil
}

// adoptSandbox finds out whether a sandbox has survived; what it was connected to is disconnected when it is stopped.
func (s *Server) adoptSandbox(ctx context.Context, b *sandbox) {
	rec := b.record()
	if !rec.Ready && rec.PausePID == 0 && pidMode(rec.Config) == runtimeapi.NamespaceMode_POD {
		s.abandon(ctx, rec.Handler, rec.ID)
	}
	ns := s.namespacesOf(rec)
	if rec.Ready && rec.PausePID != 0 && !alive(rec.PausePID, rec.PauseStart) {
		s.loseSandbox(b, "its process namespace")
		return
	}
	for _, path := range []string{ns.Net, ns.IPC, ns.UTS} {
		if path != "" && rec.Ready && !isNamespace(path) {
			s.loseSandbox(b, path)
			return
		}
	}
}

// abandon ends what may still be making a container, or the process of a sandbox.
func (s *Server) abandon(ctx context.Context, handler, id string) {
	ctx, cancel := context.WithTimeout(ctx, cleanupTimeout)
	defer cancel()
	if err := s.runnerOf(handler).Abandon(ctx, id); err != nil {
		s.log.Error("end what was being started", "id", id, "err", err)
	}
}

// loseSandbox records that a sandbox is no longer whole.
func (s *Server) loseSandbox(b *sandbox, missing string) {
	rec := b.record()
	s.log.Info("sandbox did not survive", "sandbox", rec.ID, "pod", podName(rec.Config), "missing", missing)
	if err := s.changeSandbox(b, func(r *sandboxRecord) { r.Ready = false }); err != nil {
		s.log.Error("record end of sandbox", "sandbox", rec.ID, "err", err)
	}
}

// alive reports whether a process that was recorded still runs.
func alive(pid int, start string) bool {
	p, err := runner.OpenProcess(pid, start)
	if err != nil {
		return false
	}
	_ = p.Close()
	return true
}

// isNamespace reports whether a namespace is pinned at path: the file system of namespaces is nsfs.
func isNamespace(path string) bool {
	const nsfsMagic = 0x6e736673
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && st.Type == nsfsMagic
}

// adoptContainer goes on with a container where the record says that it was.
func (s *Server) adoptContainer(ctx context.Context, c *container) {
	switch c.record().State {
	case stateCreating:
		// Nobody was ever told its id.
		if err := s.removeContainer(ctx, c); err != nil {
			s.log.Error("remove half made container", "container", c.rec.ID, "err", err)
		}
	case stateCreated:
		if _, err := os.Stat(filepath.Join(s.bundle(c.rec.ID), "config.json")); err != nil {
			s.failedStart(c, errors.New("the machine restarted before the container was started"))
		}
	case stateStarting:
		s.abandon(ctx, c.record().Handler, c.rec.ID)
		s.failedStart(c, errors.New("the container runtime was restarted while the container was starting"))
	case stateRunning:
		s.watch(c)
	case stateExited:
		close(c.exited)
		if err := s.runnerOf(c.rec.Handler).Delete(ctx, c.rec.ID); err != nil {
			s.log.Error("free ended container", "container", c.rec.ID, "err", err)
		}
	}
}

// sweep removes what no readable record is about.
func (s *Server) sweep(ctx context.Context, brokenSandboxes, brokenContainers []string) {
	for _, id := range brokenContainers {
		s.log.Warn("remove container without a readable record", "container", id)
		rec := containerRecord{ID: id, Handler: s.handlerThatHas(id), CgroupsPath: filepath.Join(s.cfg.CgroupParent, id)}
		if err := s.removeContainer(ctx, &container{rec: rec}); err != nil {
			s.log.Error("remove container without a record", "container", id, "err", err)
		}
	}
	for _, id := range brokenSandboxes {
		s.log.Warn("remove sandbox without a readable record", "sandbox", id)
		if err := s.discardSandbox(ctx, &sandbox{rec: sandboxRecord{ID: id}}); err != nil {
			s.log.Error("remove sandbox without a record", "sandbox", id, "err", err)
		}
	}
	if err := s.images.Collect(); err != nil {
		s.log.Error("collect image layers", "err", err)
	}
}
