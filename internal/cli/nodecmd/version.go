// SPDX-License-Identifier: Apache-2.0

package nodecmd

import (
	"fmt"

	"github.com/spf13/cobra"

	"eastwest/internal/cli/version"
)

func newVersion(s Streams) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  arguments(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			info := version.Get()
			fmt.Fprintf(s.Out, "eastwest-node %s %s\nKubernetes %s\n%s %s\n", info.Version, info.Commit, info.Kubernetes, info.Go, info.Platform)
			return nil
		},
	}
}
