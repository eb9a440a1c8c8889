// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"os"

	"github.com/spf13/cobra"
)

func newNodeExec(s Streams) *cobra.Command {
	var name string
	var where place
	cmd := &cobra.Command{
		Use:   "exec NODE [-- COMMAND [ARGUMENT...]]",
		Short: "Run a command on a node, or a shell",
		Long: `Run a command on a node, with this terminal and these streams; without one, a shell. The command sees the node's
network, files, host name and control groups. Its exit status is this program's.`,
		Example: "  eastwest node exec eastwest-worker\n  eastwest node exec eastwest-worker -- ip route",
		Args:    arguments(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			clusters, err := where.open(s, nil)
			if err != nil {
				return err
			}
			name, err := clusterOf(cmd.Context(), clusters, cmd, name, args[0])
			if err != nil {
				return err
			}
			command := args[1:]
			if len(command) == 0 {
				command = []string{shell()}
			}
			return clusters.Exec(cmd.Context(), name, args[0], command...)
		},
	}
	nameFlag(cmd, &name)
	// As with docker exec; the terminal is the person's own anyway.
	var keep, tty bool
	cmd.Flags().BoolVarP(&keep, "interactive", "i", false, "keep stdin open (always so; accepted for habit)")
	cmd.Flags().BoolVarP(&tty, "tty", "t", false, "use a terminal (this one, when there is one; accepted for habit)")
	where.flags(cmd)
	return cmd
}

// shell is a person's shell where the node, which sees the host's programs, has a plain one.
func shell() string {
	if _, err := os.Stat("/bin/bash"); err == nil {
		return "/bin/bash"
	}
	return "/bin/sh"
}
