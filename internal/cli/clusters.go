// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"eastwest/internal/cluster"
)

// place says where local clusters are kept; tests and unusual machines move it.
type place struct {
	stateDir, runDir string
}

func (p *place) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&p.stateDir, "state-dir", fallback("EASTWEST_LOCAL_STATE_DIR", cluster.DefaultStateDir),
		"folder on disk for the state of local clusters [$EASTWEST_LOCAL_STATE_DIR]")
	cmd.Flags().StringVar(&p.runDir, "run-dir", fallback("EASTWEST_LOCAL_RUN_DIR", cluster.DefaultRunDir),
		"folder for run-time files of local clusters [$EASTWEST_LOCAL_RUN_DIR]")
}

func fallback(variable, value string) string {
	if set := os.Getenv(variable); set != "" {
		return set
	}
	return value
}

// open opens the local clusters.
func (p *place) open(s Streams, progress func(string)) (*cluster.Clusters, error) {
	dir, err := programDir()
	if err != nil {
		return nil, err
	}
	return cluster.New(cluster.Config{
		StateDir: p.stateDir, RunDir: p.runDir, ProgramDir: dir, Progress: progress, Log: logger(s),
	})
}

// programDir is the folder of this program, where its siblings are.
func programDir() (string, error) {
	program, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find this program: %w", err)
	}
	if program, err = filepath.EvalSymlinks(program); err != nil {
		return "", fmt.Errorf("find this program: %w", err)
	}
	return filepath.Dir(program), nil
}

// interruptible ends the context on the first interrupt, so that a command can clean up; the second one kills.
func interruptible(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// nameFlag adds --name with the default cluster.
func nameFlag(cmd *cobra.Command, name *string) {
	cmd.Flags().StringVar(name, "name", cluster.DefaultName, "name of the cluster")
}

// clusterOf finds the cluster of a node that is named without one: the default cluster, or the only one that has it.
func clusterOf(ctx context.Context, c *cluster.Clusters, cmd *cobra.Command, name, node string) (string, error) {
	if cmd.Flags().Changed("name") {
		return name, nil
	}
	names, err := c.Names()
	if err != nil {
		return "", err
	}
	for _, candidate := range names {
		record, err := c.Record(ctx, candidate)
		if err == nil && strings.HasPrefix(node, candidate+"-") {
			if _, err := record.Node(node); err == nil {
				return candidate, nil
			}
		}
	}
	return name, nil
}
