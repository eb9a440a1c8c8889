// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"eastwest/internal/cluster/kubeconfig"
)

// Kubeconfig is the host's path of the administrator's kubeconfig of a cluster.
func (c *Clusters) Kubeconfig(r *Record) string { return c.serverFile(r, "admin.kubeconfig") }

// writeKubeconfig merges the cluster's context into the file that the person asked for, or the usual one, and records
// which that was.
func (c *Clusters) writeKubeconfig(r *Record, file string) error {
	if file == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return fmt.Errorf("find the usual kubeconfig (name one with --kubeconfig): %w", err)
		}
		file = kubeconfig.File(os.Getenv("KUBECONFIG"), home)
	}
	file, err := filepath.Abs(file)
	if err != nil {
		return fmt.Errorf("find kubeconfig: %w", err)
	}
	// Recorded first: should we die in between, Down still knows where to look.
	_, statErr := os.Stat(file)
	r.Kubeconfig, r.KubeconfigCreated = file, errors.Is(statErr, os.ErrNotExist)
	if err := r.save(c.stateDir(r.Name)); err != nil {
		return err
	}
	_, err = kubeconfig.Merge(c.Kubeconfig(r), file, ContextName(r.Name))
	return err
}

// removeKubeconfig takes the context out of the recorded file; without a record, out of the usual one.
func removeKubeconfig(name string, r *Record) error {
	if r != nil && r.Kubeconfig != "" {
		return kubeconfig.Remove(r.Kubeconfig, ContextName(name), r.KubeconfigCreated)
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return nil // no home, no usual file
	}
	return kubeconfig.Remove(kubeconfig.File(os.Getenv("KUBECONFIG"), home), ContextName(name), false)
}
