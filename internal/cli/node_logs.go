// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"github.com/spf13/cobra"

	"eastwest/internal/cluster"
)

func newNodeLogs(s Streams) *cobra.Command {
	var name string
	var where place
	var options cluster.LogOptions
	cmd := &cobra.Command{
		Use:   "logs NODE",
		Short: "Print the logs of a node's own processes",
		Args:  arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := interruptible(cmd.Context())
			defer stop()
			clusters, err := where.open(s, nil)
			if err != nil {
				return err
			}
			name, err := clusterOf(ctx, clusters, cmd, name, args[0])
			if err != nil {
				return err
			}
			return clusters.Logs(ctx, name, args[0], options, s.Out)
		},
	}
	nameFlag(cmd, &name)
	cmd.Flags().BoolVarP(&options.Follow, "follow", "f", false, "go on printing what is added")
	cmd.Flags().StringVar(&options.Component, "component", "", "server, agent, or a process of the container runtime, containerd say (default: all of the node)")
	cmd.Flags().IntVar(&options.Tail, "tail", -1, "print only that many lines from the end of each log")
	where.flags(cmd)
	return cmd
}
