// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"eastwest/internal/cluster"
)

func newNode(s Streams) *cobra.Command {
	cmd := parent(&cobra.Command{Use: "node", Short: "Look into, stop and start the nodes of local clusters"})
	cmd.AddCommand(newNodeList(s), newNodeExec(s), newNodeLogs(s), newNodeStop(s), newNodeStart(s), newNodeRestart(s))
	return cmd
}

// nodeChange is a command that does something to one node.
type nodeChange struct {
	use, short, long, done string
	optional               bool // without a node: all nodes of the cluster
	waits                  bool
	flags                  func(cmd *cobra.Command) // of this command alone; may be nil
	do                     func(ctx context.Context, c *cluster.Clusters, name, node string, wait time.Duration) error
}

func newNodeStop(s Streams) *cobra.Command {
	var force bool
	return nodeChange{
		use: "stop NODE", short: "End every process of a node; its files and addresses stay", done: "is stopped",
		long: `End every process of a node; its files and addresses stay. In a cluster with a --shutdown-grace-period this is the
machine's shutdown as Kubernetes knows it: the node is not Ready and takes no pods, and its pods end first, plain ones before
critical ones. Else, or with --force, they are killed.`,
		flags: func(cmd *cobra.Command) { forceFlag(cmd, &force) },
		do: func(ctx context.Context, c *cluster.Clusters, name, node string, _ time.Duration) error {
			return c.Stop(ctx, name, node, force)
		},
	}.command(s)
}

func newNodeStart(s Streams) *cobra.Command {
	return nodeChange{
		use: "start [NODE]", short: "Start what is not running of a node, or of all nodes", done: "runs", optional: true, waits: true,
		long: `Start whatever is not running of a node: after kill -9 of an agent only the agent, and containers go on. Without NODE
all nodes of the cluster are started. After a reboot of the machine this brings the cluster back.`,
		do: func(ctx context.Context, c *cluster.Clusters, name, node string, wait time.Duration) error {
			return c.Start(ctx, name, node, wait)
		},
	}.command(s)
}

func newNodeRestart(s Streams) *cobra.Command {
	var backend string
	var force bool
	return nodeChange{
		use: "restart NODE", short: "Stop a node and start it again", done: "runs again", waits: true,
		flags: func(cmd *cobra.Command) {
			forceFlag(cmd, &force)
			cmd.Flags().StringVar(&backend, "backend", "", "what carries services on the node from now on: nftables, iptables or ipvs (default: as before)")
		},
		do: func(ctx context.Context, c *cluster.Clusters, name, node string, wait time.Duration) error {
			return c.Restart(ctx, name, node, backend, force, wait)
		},
	}.command(s)
}

func forceFlag(cmd *cobra.Command, force *bool) {
	cmd.Flags().BoolVar(force, "force", false, "kill pods at once, whatever the cluster's --shutdown-grace-period")
}

func (n nodeChange) command(s Streams) *cobra.Command {
	var name string
	var where place
	wait := cluster.DefaultOptions().Wait
	args := cobra.ExactArgs(1)
	if n.optional {
		args = cobra.MaximumNArgs(1)
	}
	cmd := &cobra.Command{Use: n.use, Short: n.short, Long: n.long, Args: arguments(args)}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx, stop := interruptible(cmd.Context())
		defer stop()
		progress := newProgress(s.Err)
		clusters, err := where.open(s, progress.tell)
		node, what := "", "cluster "+name
		if len(args) > 0 {
			node, what = args[0], "node "+args[0]
		}
		if err == nil {
			name, err = clusterOf(ctx, clusters, cmd, name, node)
		}
		if err == nil {
			err = n.do(ctx, clusters, name, node, wait)
		}
		progress.close()
		if err != nil {
			return err
		}
		fmt.Fprintln(s.Err, what, n.done)
		return nil
	}
	nameFlag(cmd, &name)
	if n.waits {
		cmd.Flags().DurationVar(&wait, "wait", wait, "how long the node may take to serve")
	}
	if n.flags != nil {
		n.flags(cmd)
	}
	where.flags(cmd)
	return cmd
}
