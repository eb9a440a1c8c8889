// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"eastwest/internal/cli/version"
)

func newVersion(s Streams) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version of eastwest and of the Kubernetes API that it serves",
		Args:  arguments(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			info := version.Get()
			switch output {
			case "":
				fmt.Fprintf(s.Out, "eastwest %s %s\nKubernetes %s\n%s %s\n", info.Version, info.Commit, info.Kubernetes, info.Go, info.Platform)
				return nil
			case "json":
				return json.NewEncoder(s.Out).Encode(info)
			}
			return &UsageError{Err: fmt.Errorf("output %q: --output must be json", output)}
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "output format: json")
	return cmd
}
