// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"eastwest/internal/addressplan"
	"eastwest/internal/kernel/hostnet"
)

// Record is what a cluster was made of, on disk as cluster.json before anything of it exists.
type Record struct {
	// Name is the cluster's name.
	Name string `json:"name"`
	// Created is when Up began.
	Created time.Time `json:"created"`
	// IPFamily says which families the cluster has. Of each there is one range of every kind and one address of every node,
	// the primary family's first.
	IPFamily IPFamily `json:"ipFamily"`
	// NodeCIDRs are the node network; its first addresses are the host's.
	NodeCIDRs []netip.Prefix `json:"nodeCIDRs"`
	// PodCIDRs and ServiceCIDRs are the ranges of pods and services.
	PodCIDRs     []netip.Prefix `json:"podCIDRs"`
	ServiceCIDRs []netip.Prefix `json:"serviceCIDRs"`
	// LoadBalancers are the addresses of Services of type LoadBalancer, on the node network.
	LoadBalancers []addressplan.Range `json:"loadBalancers,omitempty"`
	// Controllers says which controllers the server runs, as its flag does; empty is all.
	Controllers []string `json:"controllers,omitempty"`
	// Domain is the cluster's DNS domain.
	Domain string `json:"domain"`
	// CNI and Overlay say how the agents attach pods and reach those of other nodes; empty for their defaults.
	CNI     string `json:"cni,omitempty"`
	Overlay string `json:"overlay,omitempty"`
	// CRI is the nodes' container runtime, empty for the one in the agent; RuntimePath are the host's folders that have its programs.
	CRI         string   `json:"cri,omitempty"`
	RuntimePath []string `json:"runtimePath,omitempty"`
	// Mirrors are asked for images before their registries, REGISTRY=URL.
	Mirrors []string `json:"mirrors,omitempty"`
	// ShutdownGracePeriod is how long pods may take to end when their node is stopped; the last part of it, ShutdownGracePeriodCriticalPods, is
	// for critical ones. 0: pods end with the node.
	ShutdownGracePeriod             time.Duration `json:"shutdownGracePeriod,omitempty"`
	ShutdownGracePeriodCriticalPods time.Duration `json:"shutdownGracePeriodCriticalPods,omitempty"`
	// APIPort is the API server's port on the control plane's address.
	APIPort int `json:"apiPort"`
	// Nodes are the nodes; the first is the control plane.
	Nodes []Node `json:"nodes"`
	// HostResolvConf is the host's file that names resolvers, ResolvConf what the nodes' /etc/resolv.conf says; Relay is
	// set when that points to the relay on the host.
	HostResolvConf string `json:"hostResolvConf"`
	ResolvConf     string `json:"resolvConf"`
	Relay          bool   `json:"relay"`
	// Sysctls are the host's switches that have to be restored.
	Sysctls []hostnet.Sysctl `json:"sysctls,omitempty"`
	// Kubeconfig is the file that has the cluster's context; KubeconfigCreated is set when Up created it.
	Kubeconfig        string `json:"kubeconfig,omitempty"`
	KubeconfigCreated bool   `json:"kubeconfigCreated,omitempty"`
}

// Node is one node of a record.
type Node struct {
	Name      string       `json:"name"`
	Role      string       `json:"role"`
	Addresses []netip.Addr `json:"addresses"`
	// Backend is what carries services on it; empty for the agent's default.
	Backend string `json:"backend,omitempty"`
}

// Address is the node's address of the primary family.
func (n Node) Address() netip.Addr { return n.Addresses[0] }

// ControlPlane is the node that runs the server.
func (r *Record) ControlPlane() Node { return r.Nodes[0] }

// Gateways are the host's addresses on the node network.
func (r *Record) Gateways() []netip.Addr {
	var out []netip.Addr
	for _, network := range r.NodeCIDRs {
		out = append(out, network.Masked().Addr().Next())
	}
	return out
}

// Server is the API server's URL.
func (r *Record) Server() string {
	return fmt.Sprintf("https://%s", netip.AddrPortFrom(r.ControlPlane().Address(), uint16(r.APIPort)))
}

// DNS are the addresses of the cluster's DNS service.
func (r *Record) DNS() []netip.Addr { return addressplan.DNS(r.ServiceCIDRs) }

// Node finds a node by its name; without the cluster's prefix (worker2) as well.
func (r *Record) Node(name string) (Node, error) {
	names := ""
	for _, node := range r.Nodes {
		if node.Name == name || node.Name == r.Name+"-"+name {
			return node, nil
		}
		names += " " + node.Name
	}
	return Node{}, fmt.Errorf("cluster %q has no node %q; its nodes are%s", r.Name, name, names)
}

const recordFile = "cluster.json"

func loadRecord(dir string) (*Record, error) {
	text, err := os.ReadFile(filepath.Join(dir, recordFile))
	if err != nil {
		return nil, err
	}
	var r Record
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, fmt.Errorf("read record %s/%s: %w", dir, recordFile, err)
	}
	if !r.whole() {
		return nil, fmt.Errorf("record %s/%s is damaged: remove the cluster with eastwest down --name %s", dir, recordFile, filepath.Base(dir))
	}
	return &r, nil
}

// whole reports whether a record that was read is one that was written.
func (r *Record) whole() bool {
	families := len(r.IPFamily.families())
	complete := families > 0 && len(r.Nodes) > 0 && CheckName(r.Name) == nil
	for _, list := range [][]netip.Prefix{r.NodeCIDRs, r.PodCIDRs, r.ServiceCIDRs} {
		complete = complete && len(list) == families
	}
	for _, node := range r.Nodes {
		complete = complete && len(node.Addresses) == families
	}
	return complete
}

// save writes the record, whole or not at all.
func (r *Record) save(dir string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("write record of cluster %s: %w", r.Name, err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("write record of cluster %s: %w", r.Name, err)
	}
	part := filepath.Join(dir, recordFile+".part")
	if err := os.WriteFile(part, append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("write record of cluster %s: %w", r.Name, err)
	}
	if err := os.Rename(part, filepath.Join(dir, recordFile)); err != nil {
		return fmt.Errorf("write record of cluster %s: %w", r.Name, err)
	}
	return nil
}

// records loads the records of all clusters, sorted by name. Damaged ones are left out: Down removes them by name.
func (c *Clusters) records() ([]*Record, error) {
	entries, err := os.ReadDir(filepath.Join(c.config.StateDir, "clusters"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list clusters: %w", err)
	}
	var records []*Record
	for _, entry := range entries {
		r, err := loadRecord(c.stateDir(entry.Name()))
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				c.config.Log.Warn("leave out cluster", "cluster", entry.Name(), "error", err)
			}
			continue
		}
		records = append(records, r)
	}
	return records, nil
}
