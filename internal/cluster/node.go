// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"eastwest/internal/cluster/machine"
)

// NodeStatus is a node with what runs of it.
type NodeStatus struct {
	Node
	// Primary is the first of the node's addresses.
	Primary netip.Addr `json:"address"`
	// Cluster is the cluster's name.
	Cluster string `json:"cluster"`
	// Status is Running, Stopped, or Degraded when only some of its processes run.
	Status string `json:"status"`
	// Processes are its processes that run, by name, with their process numbers.
	Processes map[string]int `json:"processes"`
}

// States of a node's processes.
const (
	StatusRunning  = "Running"
	StatusDegraded = "Degraded"
	StatusStopped  = "Stopped"
)

// expected lists the processes that a node has when all is well.
func (r *Record) expected(node Node) []string {
	names := []string{processAgent}
	if node.Role == RoleControlPlane {
		names = []string{processServer, processAgent}
	}
	if runtime, ok := r.runtime(); ok {
		for _, part := range runtime.parts {
			names = append(names, part.name)
		}
	}
	return names
}

// Nodes lists the nodes of a cluster.
func (c *Clusters) Nodes(ctx context.Context, name string) ([]NodeStatus, error) {
	record, err := c.Record(ctx, name)
	if err != nil {
		return nil, err
	}
	list := make([]NodeStatus, 0, len(record.Nodes))
	for _, node := range record.Nodes {
		status, err := c.status(record, node)
		if err != nil {
			return nil, err
		}
		list = append(list, status)
	}
	return list, nil
}

func (c *Clusters) status(r *Record, node Node) (NodeStatus, error) {
	records, err := c.machine(r, node).Processes()
	if err != nil {
		return NodeStatus{}, err
	}
	status := NodeStatus{Node: node, Primary: node.Address(), Cluster: r.Name, Status: StatusDegraded, Processes: map[string]int{}}
	for _, name := range r.expected(node) {
		if records[name].Alive() {
			status.Processes[name] = records[name].PID
		}
	}
	switch len(status.Processes) {
	case len(r.expected(node)):
		status.Status = StatusRunning
	case 0:
		status.Status = StatusStopped
	}
	return status, nil
}

// Stop ends every process of a node, its pods' included. Its file system and its addresses stay. Pods have the cluster's
// ShutdownGracePeriod, unless the stop is by force.
func (c *Clusters) Stop(ctx context.Context, cluster, name string, force bool) error {
	return c.change(ctx, cluster, func(r *Record) error {
		node, err := r.Node(name)
		if err != nil {
			return err
		}
		return c.stop(ctx, r, node, force)
	})
}

// stop lets pods, the agent and the server end by themselves before all else is killed.
func (c *Clusters) stop(ctx context.Context, r *Record, node Node, force bool) error {
	m := c.machine(r, node)
	var err error
	if r.ShutdownGracePeriod > 0 && !force {
		c.config.Progress("ending the pods of " + node.Name)
		err = m.PowerOff(ctx, processAgent, r.ShutdownGracePeriod+shutdownSlack)
	}
	c.config.Progress("stopping " + node.Name)
	return errors.Join(err, m.Stop(ctx, processAgent), m.Stop(ctx, processServer), m.Kill(ctx))
}

// shutdownSlack is what an agent may take beyond the period of its pods.
const shutdownSlack = 10 * time.Second

// Start starts whatever of a node is not running, and makes the node again when a reboot has taken it. It returns when
// the cluster serves.
func (c *Clusters) Start(ctx context.Context, cluster, name string, wait time.Duration) error {
	return c.change(ctx, cluster, func(r *Record) error { return c.start(ctx, r, name, wait) })
}

// Restart stops a node and starts it again. From then on services are carried by backend, unless that is empty. Pods are
// ended as by Stop.
func (c *Clusters) Restart(ctx context.Context, cluster, name, backend string, force bool, wait time.Duration) error {
	if err := checkBackend(backend); err != nil {
		return err
	}
	return c.change(ctx, cluster, func(r *Record) error {
		node, err := r.Node(name)
		if err != nil {
			return err
		}
		if backend != "" {
			if err := c.setBackend(r, node.Name, backend); err != nil {
				return err
			}
		}
		if err := c.stop(ctx, r, node, force); err != nil {
			return err
		}
		return c.start(ctx, r, name, wait)
	})
}

// setBackend has the node's next agent carry services otherwise.
func (c *Clusters) setBackend(r *Record, node, backend string) error {
	if err := c.checkBackendPrograms(backend); err != nil {
		return err
	}
	for i := range r.Nodes {
		if r.Nodes[i].Name == node {
			r.Nodes[i].Backend = backend
		}
	}
	return r.save(c.stateDir(r.Name))
}

// start runs one node of the cluster, or every node when name is empty.
func (c *Clusters) start(ctx context.Context, r *Record, name string, wait time.Duration) error {
	nodes := r.Nodes
	if name != "" {
		node, err := r.Node(name)
		if err != nil {
			return err
		}
		nodes = []Node{node}
	}
	if err := c.refreshResolvers(r); err != nil {
		return err
	}
	return c.run(ctx, r, nodes, wait)
}

// refreshResolvers takes over the host's resolvers as they are now.
func (c *Clusters) refreshResolvers(r *Record) error {
	text, err := readResolvers(r.HostResolvConf)
	if err != nil {
		return err
	}
	r.ResolvConf, r.Relay = nodeResolvConf(text, r.Gateways())
	return r.save(c.stateDir(r.Name))
}

// change runs a change of a cluster that exists, one at a time.
func (c *Clusters) change(ctx context.Context, cluster string, do func(*Record) error) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("change cluster %q: this needs root: run it with sudo", cluster)
	}
	if _, err := c.Record(ctx, cluster); err != nil {
		return err
	}
	lock, err := lockDir(ctx, c.stateDir(cluster))
	if err != nil {
		return err
	}
	defer lock.Close()
	record, err := c.Record(ctx, cluster)
	if err != nil {
		return err
	}
	return do(record)
}

// Machine returns the machine of a node, to run something in it.
func (c *Clusters) Machine(ctx context.Context, cluster, name string) (*machine.Machine, error) {
	record, err := c.Record(ctx, cluster)
	if err != nil {
		return nil, err
	}
	node, err := record.Node(name)
	if err != nil {
		return nil, err
	}
	return c.machine(record, node), nil
}
