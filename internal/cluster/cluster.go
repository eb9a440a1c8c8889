// SPDX-License-Identifier: Apache-2.0

// Package cluster runs whole clusters on one Linux machine: every node a machine of namespaces (package machine), joined
// by a bridge (package hostnet), with exactly the processes that several real machines would run.
//
//	Up: choose names and addresses ─▶ record ─▶ nodes ─▶ server ─▶ token ─▶ agents ─▶ ready ─▶ kubeconfig
//	Down: kill ─▶ unpin ─▶ links, rules, switches ─▶ control groups ─▶ folders ─▶ kubeconfig
//
// There is no supervisor: what runs is found again by the record on disk, by pinned namespaces and by control groups. All
// that is made on the host has a name derived from the cluster's, so Down works even when the record is lost.
package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"eastwest/internal/cluster/cgroup"
	"eastwest/internal/cluster/machine"
)

// Default folders; see Config.
const (
	DefaultStateDir = machine.StateMount
	DefaultRunDir   = "/run/eastwest"
)

// Config says where clusters live and what their processes are.
type Config struct {
	// StateDir is the folder on disk below which clusters keep their state (clusters/NAME).
	StateDir string
	// RunDir is the folder for run-time files, below which namespaces are pinned.
	RunDir string
	// ProgramDir is the folder that holds eastwest, eastwest-server, eastwest-node, eastwest-cni and eastwest-tool.
	ProgramDir string
	// Programs are the command lines of a cluster's processes; the zero value means those of eastwest.
	Programs Programs
	// Progress is told in a few words what is going on; it may be called by several goroutines at once.
	Progress func(text string)
	// Log takes what is not worth an error.
	Log *slog.Logger
}

// Clusters manages the local clusters of this machine.
type Clusters struct {
	config      Config
	hierarchies []cgroup.Hierarchy
}

// New opens the local clusters of this machine. It changes nothing.
func New(config Config) (*Clusters, error) {
	hierarchies, err := cgroup.Hierarchies()
	if err != nil {
		return nil, err
	}
	config.Programs = config.Programs.withDefaults()
	if config.Progress == nil {
		config.Progress = func(string) {}
	}
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	for _, dir := range []*string{&config.StateDir, &config.RunDir, &config.ProgramDir} {
		if *dir, err = filepath.Abs(*dir); err != nil {
			return nil, fmt.Errorf("find folder: %w", err)
		}
	}
	return &Clusters{config: config, hierarchies: hierarchies}, nil
}

// stateDir, runDir and group are the three places of a cluster.
func (c *Clusters) stateDir(name string) string {
	return filepath.Join(c.config.StateDir, "clusters", name)
}

func (c *Clusters) runDir(name string) string {
	return filepath.Join(c.config.RunDir, "clusters", name)
}

func (c *Clusters) group(name string) cgroup.Group {
	return cgroup.At(c.hierarchies, "eastwest").Child(name)
}

// machine names the machine of a node.
func (c *Clusters) machine(r *Record, node Node) *machine.Machine {
	hosts := make([]machine.Host, 0, len(r.Nodes))
	for _, n := range r.Nodes {
		for _, address := range n.Addresses {
			hosts = append(hosts, machine.Host{Name: n.Name, Address: address})
		}
	}
	return machine.New(machine.Config{
		Name:       node.Name,
		StateDir:   filepath.Join(c.stateDir(r.Name), "nodes", node.Name),
		RunDir:     filepath.Join(c.runDir(r.Name), "nodes", node.Name),
		RunRoot:    c.config.RunDir,
		Group:      c.group(r.Name).Child(node.Name),
		ProgramDir: c.config.ProgramDir,
		Hosts:      hosts,
		ResolvConf: r.ResolvConf,
	})
}

// Names lists the clusters that exist, sorted.
func (c *Clusters) Names() ([]string, error) {
	records, err := c.records()
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(records))
	for _, r := range records {
		names = append(names, r.Name)
	}
	return names, nil
}

// Record returns the record of a cluster, or an error that wraps os.ErrNotExist and names the clusters that exist.
func (c *Clusters) Record(_ context.Context, name string) (*Record, error) {
	r, err := loadRecord(c.stateDir(name))
	if err == nil || !os.IsNotExist(err) {
		return r, err
	}
	names, listErr := c.Names()
	if listErr != nil {
		return nil, listErr
	}
	return nil, &NotFoundError{Name: name, Others: names}
}
