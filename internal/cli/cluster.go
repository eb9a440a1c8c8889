// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"eastwest/internal/cluster"
)

func newCluster(s Streams) *cobra.Command {
	cmd := parent(&cobra.Command{Use: "cluster", Short: "Look at the clusters of this machine"})
	cmd.AddCommand(newClusterList(s), newClusterKubeconfig(s))
	return cmd
}

func newClusterList(s Streams) *cobra.Command {
	var where place
	var output string
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List the clusters of this machine",
		Args:    arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			clusters, err := where.open(s, nil)
			if err != nil {
				return err
			}
			names, err := clusters.Names()
			if err != nil {
				return err
			}
			records := make([]*cluster.Record, 0, len(names))
			for _, name := range names {
				record, err := clusters.Record(cmd.Context(), name)
				if err != nil {
					return err
				}
				records = append(records, record)
			}
			return printClusters(s, output, records)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "output format: name, json")
	where.flags(cmd)
	return cmd
}

func printClusters(s Streams, output string, records []*cluster.Record) error {
	switch output {
	case "json":
		encoder := json.NewEncoder(s.Out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(records)
	case "name":
		for _, r := range records {
			fmt.Fprintln(s.Out, r.Name)
		}
		return nil
	case "":
		if len(records) == 0 {
			fmt.Fprintln(s.Err, "there are no clusters")
			return nil
		}
		table := tabwriter.NewWriter(s.Out, 0, 0, 3, ' ', 0)
		fmt.Fprintln(table, "NAME\tNODES\tSERVER\tCONTEXT\tKUBECONFIG")
		for _, r := range records {
			fmt.Fprintf(table, "%s\t%d\t%s\t%s\t%s\n", r.Name, len(r.Nodes), r.Server(), cluster.ContextName(r.Name), r.Kubeconfig)
		}
		return table.Flush()
	}
	return &UsageError{Err: fmt.Errorf("output %q: --output must be name or json", output)}
}
