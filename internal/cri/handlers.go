// SPDX-License-Identifier: Apache-2.0

package cri

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"eastwest/internal/cri/runner"
)

// Runtime handlers, which a RuntimeClass names. The empty name means the default one.
const (
	defaultHandler = "runc"
	crunHandler    = "crun"
)

// openRunners finds the programs of the handlers. runc must be there; crun may.
func openRunners(cfg Config) (map[string]*runner.Runner, error) {
	runc, err := runner.New(defaultHandler, cfg.Runtime, cfg.Monitor, cfg.State)
	if err != nil {
		return nil, err
	}
	runners := map[string]*runner.Runner{defaultHandler: runc}
	crun, err := runner.New(crunHandler, cfg.Crun, cfg.Monitor, cfg.State)
	if errors.Is(err, runner.ErrNotInstalled) && cfg.Crun == "" {
		return runners, nil
	}
	if err != nil {
		return nil, fmt.Errorf("runtime handler %s: %w", crunHandler, err)
	}
	runners[crunHandler] = crun
	return runners, nil
}

// checkHandler refuses a handler that there is not.
func (s *Server) checkHandler(name string) error {
	if name == "" || s.runners[name] != nil {
		return nil
	}
	return fmt.Errorf("no runtime for %q is configured: there are %v", name, slices.Sorted(maps.Keys(s.runners)))
}

// runnerOf returns what runs the pods of a handler. Those of one whose program was removed meanwhile get the default one,
// which knows nothing of them: what there is of them is killed and removed without it.
func (s *Server) runnerOf(handler string) *runner.Runner {
	if r := s.runners[handler]; r != nil {
		return r
	}
	return s.runners[defaultHandler]
}

// handlerThatHas finds the handler of a container whose record is lost.
func (s *Server) handlerThatHas(id string) string {
	for name, r := range s.runners {
		if r.Has(id) {
			return name
		}
	}
	return defaultHandler
}
