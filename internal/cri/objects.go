// SPDX-License-Identifier: Apache-2.0

package cri

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"

	"eastwest/internal/cri/runner"
)

// errNotFound says that there is no sandbox or container with an id.
var errNotFound = errors.New("not found")

// sandbox is a pod's sandbox. op serialises what changes it; rec is read and replaced under mu.
type sandbox struct {
	op  sync.Mutex
	mu  sync.Mutex
	rec sandboxRecord
}

func (b *sandbox) record() sandboxRecord {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.rec
}

// container is a container. op serialises what changes it; rec is read and replaced under mu; exited is closed when a
// started container has ended and its record says so.
type container struct {
	op     sync.Mutex
	mu     sync.Mutex
	rec    containerRecord
	exited chan struct{}
}

func (c *container) record() containerRecord {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rec
}

// change alters a sandbox's record, in memory and on disk.
func (s *Server) changeSandbox(b *sandbox, alter func(*sandboxRecord)) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	alter(&b.rec)
	return saveRecord(filepath.Join(s.sandboxRecords(), b.rec.ID), b.rec)
}

// noteSandbox is changeSandbox for what was taken away. A disk that is full must not keep a sandbox from going, which makes room; should the
// record be needed again, what it says of things that are gone is found out, or undone twice.
func (s *Server) noteSandbox(b *sandbox, alter func(*sandboxRecord)) {
	if err := s.changeSandbox(b, alter); err != nil {
		s.log.Warn("the record of a sandbox is behind", "sandbox", b.rec.ID, "err", err)
	}
}

func (s *Server) changeContainer(c *container, alter func(*containerRecord)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	alter(&c.rec)
	return saveRecord(filepath.Join(s.containerRecords(), c.rec.ID), c.rec)
}

// sandbox finds a sandbox by its id, or by the beginning of it that no other has.
func (s *Server) sandbox(id string) (*sandbox, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return lookUp(s.sandboxes, "pod sandbox", id)
}

func (s *Server) container(id string) (*container, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return lookUp(s.containers, "container", id)
}

func lookUp[T any](all map[string]T, kind, id string) (found T, err error) {
	if o, ok := all[id]; ok {
		return o, nil
	}
	matches := 0
	for have, o := range all {
		if id != "" && strings.HasPrefix(have, id) {
			found = o
			matches++
		}
	}
	if matches == 1 {
		return found, nil
	}
	var none T
	return none, fmt.Errorf("%s %q: %w", kind, id, errNotFound)
}

// containersOf lists the containers of a sandbox.
func (s *Server) containersOf(sandboxID string) []*container {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*container
	for _, c := range s.containers {
		if c.rec.SandboxID == sandboxID { // never changes
			out = append(out, c)
		}
	}
	return out
}

// runnable describes a container to the runner.
func (s *Server) runnable(rec containerRecord) runner.Container {
	return runner.Container{
		ID: rec.ID, Bundle: s.bundle(rec.ID), LogPath: rec.LogPath, Terminal: rec.Config.GetTty(),
		Stdin: rec.Config.GetStdin(), StdinOnce: rec.Config.GetStdinOnce(),
	}
}
