// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
)

func newClusterKubeconfig(s Streams) *cobra.Command {
	var name string
	var where place
	cmd := &cobra.Command{
		Use:   "kubeconfig",
		Short: "Print the administrator's kubeconfig of a cluster",
		Args:  arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			clusters, err := where.open(s, nil)
			if err != nil {
				return err
			}
			record, err := clusters.Record(cmd.Context(), name)
			if err != nil {
				return err
			}
			content, err := os.ReadFile(clusters.Kubeconfig(record))
			if err != nil {
				return fmt.Errorf("read the kubeconfig of cluster %s: %w", name, err)
			}
			_, err = s.Out.Write(content)
			return err
		},
	}
	nameFlag(cmd, &name)
	where.flags(cmd)
	return cmd
}
