// SPDX-License-Identifier: Apache-2.0

package cri

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"eastwest/internal/cri/ocispec"
)

// mergeResources applies an update: what it does not say stays.
func mergeResources(have, update *runtimeapi.LinuxContainerResources) *runtimeapi.LinuxContainerResources {
	out := &runtimeapi.LinuxContainerResources{}
	if have != nil {
		proto.Merge(out, have)
	}
	if update != nil {
		proto.Merge(out, update)
		if len(update.GetHugepageLimits()) > 0 {
			out.HugepageLimits = update.GetHugepageLimits() // merging would append
		}
	}
	return out
}

// rewriteResources changes the limits in the specification of a container that has no process yet.
func (s *Server) rewriteResources(id string, r *runtimeapi.LinuxContainerResources) error {
	path := filepath.Join(s.bundle(id), "config.json")
	raw, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("change resources of container %s: %w", id, err)
	}
	var spec specs.Spec
	if err := json.Unmarshal(raw, &spec); err != nil {
		return fmt.Errorf("read specification of container %s: %w", id, err)
	}
	devices := spec.Linux.Resources.Devices
	spec.Linux.Resources = ocispec.Resources(r, s.node)
	spec.Linux.Resources.Devices = devices
	if raw, err = json.Marshal(spec); err != nil {
		return fmt.Errorf("encode specification: %w", err)
	}
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		return fmt.Errorf("change resources of container %s: %w", id, err)
	}
	return nil
}
