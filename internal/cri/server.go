// SPDX-License-Identifier: Apache-2.0

package cri

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"eastwest/internal/cri/cgroup"
	"eastwest/internal/cri/images"
	"eastwest/internal/cri/network"
	"eastwest/internal/cri/ocispec"
	"eastwest/internal/cri/rootfs"
	"eastwest/internal/cri/runner"
)

// Server is a container runtime. Make it with New.
type Server struct {
	runtimeapi.UnimplementedRuntimeServiceServer
	runtimeapi.UnimplementedImageServiceServer

	cfg     Config
	log     *slog.Logger
	images  *images.Store
	net     *network.Network
	runners map[string]*runner.Runner // by runtime handler
	cgroups *cgroup.Hierarchy
	node    ocispec.Node
	version string
	events  *broadcaster
	usage   *usageHistory
	streams *streamServer

	// life ends with the server; what watches containers ends with it, the containers do not.
	life context.Context
	stop context.CancelFunc
	work sync.WaitGroup

	mu         sync.Mutex
	sandboxes  map[string]*sandbox
	containers map[string]*container
	podCIDR    string
}

// New opens the state that an earlier server left: containers that live are watched on, what was half done is undone.
// It fails when runc or conmon is missing.
func New(ctx context.Context, cfg Config) (*Server, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	s := &Server{
		cfg: cfg, log: cfg.Log, events: newBroadcaster(), usage: newUsageHistory(),
		sandboxes: map[string]*sandbox{}, containers: map[string]*container{},
	}
	s.life, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	if err := s.open(ctx); err != nil {
		s.stop()
		return nil, err
	}
	if err := s.adopt(ctx); err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

// open makes the folders and finds the programs.
func (s *Server) open(ctx context.Context) (err error) {
	for _, d := range []string{s.sandboxRecords(), s.containerRecords(), s.cfg.State, s.cfg.NetnsDir} {
		if err := os.MkdirAll(d, 0o711); err != nil {
			return fmt.Errorf("make folder of the runtime: %w", err)
		}
	}
	if err := rootfs.MakePrivate(s.cfg.State); err != nil {
		return err
	}
	if s.images, err = images.Open(s.cfg.Root); err != nil {
		return err
	}
	s.images.Mirrors, s.images.OnProgress = s.cfg.Mirrors, s.tellProgress
	if s.runners, err = openRunners(s.cfg); err != nil {
		return err
	}
	if s.cgroups, err = cgroup.Find(); err != nil {
		return err
	}
	if s.node, err = readNode(s.cgroups); err != nil {
		return err
	}
	if s.version, err = s.runners[defaultHandler].Version(ctx); err != nil {
		return err
	}
	s.net = network.New(network.Config{
		ConfDir: s.cfg.CNIConfDir, BinDirs: s.cfg.CNIBinDirs, CacheDir: filepath.Join(s.cfg.Root, "cni"),
	})
	return nil
}

func (s *Server) sandboxRecords() string   { return filepath.Join(s.cfg.Root, "sandboxes") }
func (s *Server) containerRecords() string { return filepath.Join(s.cfg.Root, "containers") }
func (s *Server) sandboxDir(id string) string {
	return filepath.Join(s.cfg.State, "sandboxes", id)
}

// bundle is the folder of a container's configuration, mounts and monitor.
func (s *Server) bundle(id string) string { return filepath.Join(s.cfg.State, "containers", id) }

// Close ends what the server does in the background and waits for it. Containers go on.
func (s *Server) Close() {
	s.stop()
	s.work.Wait()
}
