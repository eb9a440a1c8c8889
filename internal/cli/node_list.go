// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"eastwest/internal/cluster"
)

func newNodeList(s Streams) *cobra.Command {
	var name, output string
	var where place
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List the nodes of all local clusters, or of one",
		Args:    arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			clusters, err := where.open(s, nil)
			if err != nil {
				return err
			}
			names := []string{name}
			if name == "" {
				if names, err = clusters.Names(); err != nil {
					return err
				}
			}
			list := []cluster.NodeStatus{}
			for _, one := range names {
				nodes, err := clusters.Nodes(cmd.Context(), one)
				if err != nil {
					return err
				}
				list = append(list, nodes...)
			}
			return printNodes(s, output, list)
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "only the nodes of this cluster")
	cmd.Flags().StringVarP(&output, "output", "o", "", "output format: wide, name, json")
	where.flags(cmd)
	return cmd
}

func printNodes(s Streams, output string, nodes []cluster.NodeStatus) error {
	switch output {
	case "json":
		encoder := json.NewEncoder(s.Out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(nodes)
	case "name":
		for _, n := range nodes {
			fmt.Fprintln(s.Out, n.Name)
		}
		return nil
	case "", "wide":
		if len(nodes) == 0 {
			fmt.Fprintln(s.Err, "there are no nodes: start a cluster with eastwest up")
			return nil
		}
		return printNodeTable(s, output == "wide", nodes)
	}
	return &UsageError{Err: fmt.Errorf("output %q: --output must be wide, name or json", output)}
}

func printNodeTable(s Streams, wide bool, nodes []cluster.NodeStatus) error {
	table := tabwriter.NewWriter(s.Out, 0, 0, 3, ' ', 0)
	header := "NAME\tSTATUS\tROLE\tADDRESS"
	if wide {
		header += "\tCLUSTER\tPROCESSES"
	}
	fmt.Fprintln(table, header)
	for _, n := range nodes {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s", n.Name, n.Status, n.Role, joined(n.Addresses))
		if wide {
			var processes []string
			for name, pid := range n.Processes {
				processes = append(processes, fmt.Sprintf("%s=%d", name, pid))
			}
			slices.Sort(processes)
			fmt.Fprintf(table, "\t%s\t%s", n.Cluster, strings.Join(processes, ","))
		}
		fmt.Fprintln(table)
	}
	return table.Flush()
}
