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

	"eastwest/internal/kernel/hostnet"
)

// Record is what a cluster was made of, on disk as cluster.json before anything of it exists.
type Record struct {
	// Name is the cluster's name.
	Name string `json:"name"`
	// Created is when Up began.
	Created time.Time `json:"created"`
	// NodeCIDR is the node network; its first address is the host's.
	NodeCIDR netip.Prefix `json:"nodeCIDR"`
	// PodCIDR and ServiceCIDR are the ranges of pods and services.
	PodCIDR     netip.Prefix `json:"podCIDR"`
	ServiceCIDR netip.Prefix `json:"serviceCIDR"`
	// Domain is the cluster's DNS domain.
	Domain string `json:"domain"`
	// CNI and Overlay say how the agents attach pods and reach those of other nodes; empty for their defaults.
	CNI     string `json:"cni,omitempty"`
	Overlay string `json:"overlay,omitempty"`
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
	Name    string     `json:"name"`
	Role    string     `json:"role"`
	Address netip.Addr `json:"address"`
}

// ControlPlane is the node that runs the server.
func (r *Record) ControlPlane() Node { return r.Nodes[0] }

// Gateway is the host's address on the node network.
func (r *Record) Gateway() netip.Addr { return r.NodeCIDR.Masked().Addr().Next() }

// Server is the API server's URL.
func (r *Record) Server() string {
	return fmt.Sprintf("https://%s", netip.AddrPortFrom(r.ControlPlane().Address, uint16(r.APIPort)))
}

// DNS is the address of the cluster's DNS service: the tenth of the service range.
func (r *Record) DNS() netip.Addr {
	address := r.ServiceCIDR.Masked().Addr()
	for range 10 {
		address = address.Next()
	}
	return address
}

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
	if len(r.Nodes) == 0 || !r.NodeCIDR.IsValid() || CheckName(r.Name) != nil {
		return nil, fmt.Errorf("record %s/%s is damaged: remove the cluster with eastwest down --name %s", dir, recordFile, filepath.Base(dir))
	}
	return &r, nil
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
