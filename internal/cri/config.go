// SPDX-License-Identifier: Apache-2.0

// Package cri is a container runtime that speaks the Container Runtime Interface of Kubernetes: pods' sandboxes, their
// containers, and images.
//
// Data flow: a request is decided in ocispec and seccomp (pure), images and rootfs give the file system, sandboxns and
// network the namespaces, and runner has conmon and runc run it. What must survive is a record a sandbox and a container
// under Root; mounts, namespaces and bundles are under State, which a restart of the machine empties together with the
// processes. A server that was killed finds both and goes on: a container's life hangs on its monitor only.
package cri

import (
	"errors"
	"log/slog"
	"path/filepath"

	"eastwest/internal/cri/images"
)

// Config says where a server keeps its things. Root, State, CNIConfDir, CNIBinDirs and NetnsDir are required.
type Config struct {
	// Root is the folder for what outlives the machine's restart: images, records, containers' writable layers.
	Root string
	// State is the folder for what does not: mounts, bundles, exit codes.
	State string
	// CNIConfDir and CNIBinDirs are read at each call, so that a network may be installed later.
	CNIConfDir string
	CNIBinDirs []string
	// NetnsDir is where pods' network namespaces are pinned, as cni-<uuid>.
	NetnsDir string
	// Runtime and Monitor are the paths of runc and conmon, looked up when empty.
	Runtime, Monitor string
	// Crun is the path of crun, looked up when empty. Where it is installed it is a second runtime handler.
	Crun string
	// Mirrors are asked for images before their registries.
	Mirrors images.Mirrors
	// StreamAddress is host:port of the server for exec, attach and port-forward; default 127.0.0.1:0.
	StreamAddress string
	// CgroupParent is the parent of sandboxes for which the kubelet gives none; default /eastwest.
	CgroupParent string
	// Log must be set.
	Log *slog.Logger
}

func (c *Config) complete() error {
	if c.Root == "" || c.State == "" || c.NetnsDir == "" || c.CNIConfDir == "" || len(c.CNIBinDirs) == 0 {
		return errors.New("configure runtime: Root, State, NetnsDir, CNIConfDir and CNIBinDirs are required")
	}
	if c.Log == nil {
		return errors.New("configure runtime: Log is required")
	}
	if c.StreamAddress == "" {
		c.StreamAddress = "127.0.0.1:0"
	}
	if c.CgroupParent == "" {
		c.CgroupParent = "/eastwest"
	}
	for _, p := range []*string{&c.Root, &c.State, &c.NetnsDir, &c.CNIConfDir} {
		abs, err := filepath.Abs(*p)
		if err != nil {
			return err
		}
		*p = abs
	}
	return nil
}
