// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newDown(s Streams) *cobra.Command {
	var name string
	var where place
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Remove a cluster and every trace of it",
		Long: `Remove a cluster of this machine and every trace of it: processes, namespaces, links, rules, control groups, folders and
the context in the kubeconfig. It works whatever state the cluster is in. Where there is no such cluster it says so,
which is no error.`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := interruptible(cmd.Context())
			defer stop()
			progress := newProgress(s.Err)
			clusters, err := where.open(s, progress.tell)
			var found bool
			if err == nil {
				found, err = clusters.Down(ctx, name)
			}
			progress.close()
			switch {
			case err != nil:
				return err
			case !found:
				fmt.Fprintf(s.Err, "there is no cluster %q\n", name)
			default:
				fmt.Fprintf(s.Err, "cluster %q is removed\n", name)
			}
			return nil
		},
	}
	nameFlag(cmd, &name)
	where.flags(cmd)
	return cmd
}
