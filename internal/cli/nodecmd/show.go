// SPDX-License-Identifier: Apache-2.0

package nodecmd

import (
	"errors"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"eastwest/internal/show"
)

// newShow makes `eastwest-node show`: what this node has. `eastwest show` asks every node of a cluster with it.
func newShow(s Streams) *cobra.Command {
	hostname, _ := os.Hostname()
	config := show.Config{}
	cmd := parent(&cobra.Command{Use: "show", Short: "List the pods or the routes of this node, as its kernel has them"})
	flags := cmd.PersistentFlags()
	flags.StringVar(&config.Node, "node-name", strings.ToLower(hostname), "name of the Node")
	flags.StringVar(&config.Runtime, "cri", "unix:///run/eastwest/cri.sock", "socket of the container runtime, which knows pods' names")
	flags.StringVar(&config.NetnsDir, "netns-dir", "/run/netns", "folder of the pods' network namespaces")
	cmd.AddCommand(newShowPods(s, &config), newShowRoutes(s, &config))
	return cmd
}

func newShowPods(s Streams, config *show.Config) *cobra.Command {
	var namespace, output string
	cmd := &cobra.Command{
		Use:   "pods [NAME...]",
		Short: "List this node's pods with their addresses, network namespaces, veths and processes",
		RunE: func(cmd *cobra.Command, names []string) error {
			pods, err := show.Pods(cmd.Context(), *config)
			if err != nil {
				return err
			}
			return usageOf(show.PrintPods(s.Out, output, show.Filter(pods, namespace, names)))
		},
	}
	cmd.Flags().StringVarP(&namespace, "namespace", "n", "", "only pods of this namespace")
	cmd.Flags().StringVarP(&output, "output", "o", "", "output form: wide, name, json")
	return cmd
}

func newShowRoutes(s Streams, config *show.Config) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "routes",
		Short: "List this node's routes, with the pods that they lead to",
		Args:  arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			routes, err := show.Routes(cmd.Context(), *config)
			if err != nil {
				return err
			}
			return usageOf(show.PrintRoutes(s.Out, output, routes))
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "output form: wide, json")
	return cmd
}

func usageOf(err error) error {
	if errors.Is(err, show.ErrOutput) {
		return usageError{err}
	}
	return err
}
