// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"

	"github.com/spf13/cobra"

	"eastwest/internal/cluster"
	"eastwest/internal/show"
)

func newShow(s Streams) *cobra.Command {
	cmd := parent(&cobra.Command{
		Use:   "show",
		Short: "List what the nodes' kernels have: pods with their namespaces and veths, routes",
		Long: `List what the nodes of a local cluster have at this moment, read from their kernels and not from the API: what ip, nsenter
and ps say on each node, in one table. On a machine that is a node itself, eastwest-node show lists that node alone.`,
	})
	cmd.AddCommand(newShowPods(s), newShowRoutes(s))
	return cmd
}

// asked is whose lists are asked for.
type asked struct {
	where         place
	cluster, node string
	output        string
}

func (a *asked) flags(cmd *cobra.Command, forms string) {
	nameFlag(cmd, &a.cluster)
	cmd.Flags().StringVar(&a.node, "node", "", "only this node")
	cmd.Flags().StringVarP(&a.output, "output", "o", "", "output form: "+forms)
	a.where.flags(cmd)
}

func newShowPods(s Streams) *cobra.Command {
	a := &asked{}
	var namespace string
	cmd := &cobra.Command{
		Use:     "pods [NAME...]",
		Aliases: []string{"pod", "po"},
		Short:   "List pods with their addresses, network namespaces, veths and processes",
		Long: `List the pods of every node. With -o wide:

  NETNS   the pod's network namespace, a path on its node: enter it with
          eastwest node exec NODE -- nsenter --net=NETNS ip address
  VETH    the node's end of the cable to the pod, with @BRIDGE when it is a port of one: watch it with
          eastwest node exec NODE -- tcpdump -ni VETH
  PIDS    the processes in that namespace, the pod's own`,
		Example: "  eastwest show pods -o wide\n  eastwest show pods --node eastwest-worker -n default web-0 -o json",
		RunE: func(cmd *cobra.Command, names []string) error {
			pods, nodes, err := collect[show.Pod](cmd.Context(), s, a, "pods")
			if nodes == nil {
				return err
			}
			// What the other nodes have is worth showing when one does not answer.
			return errors.Join(usageOf(show.PrintPods(s.Out, a.output, show.Filter(pods, namespace, names))), err)
		},
	}
	a.flags(cmd, "wide, name, json")
	cmd.Flags().StringVarP(&namespace, "namespace", "n", "", "only pods of this namespace")
	return cmd
}

func newShowRoutes(s Streams) *cobra.Command {
	a := &asked{}
	cmd := &cobra.Command{
		Use:     "routes",
		Aliases: []string{"route"},
		Short:   "List routes, with the pods that they lead to",
		Long: `List the routes of every node: one to each of its own pods, and one to the pods of each other node. TUNNEL is the node
address to which packets are sent inside VXLAN (eastwest up --overlay vxlan). -o wide adds the device's kind and MTU, the
source address of the node's own packets, and who made the route.`,
		Example: "  eastwest show routes\n  eastwest show routes --node eastwest-worker -o wide",
		Args:    arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			routes, nodes, err := collect[show.Route](cmd.Context(), s, a, "routes")
			if nodes == nil {
				return err
			}
			addresses := map[netip.Addr]string{}
			for _, node := range nodes {
				for _, address := range node.Addresses {
					addresses[address] = node.Name
				}
			}
			show.NamePeers(routes, addresses)
			return errors.Join(usageOf(show.PrintRoutes(s.Out, a.output, routes)), err)
		},
	}
	a.flags(cmd, "wide, json")
	return cmd
}

// collect asks the nodes, and returns their lists one after the other, and all nodes of the cluster; nil when there is no
// such cluster or node. The error names the nodes that did not answer.
func collect[T any](ctx context.Context, s Streams, a *asked, what string) ([]T, []cluster.Node, error) {
	clusters, err := a.where.open(s, nil)
	if err != nil {
		return nil, nil, err
	}
	record, err := clusters.Record(ctx, a.cluster)
	if err != nil {
		return nil, nil, err
	}
	nodes := record.Nodes
	if a.node != "" {
		node, err := record.Node(a.node)
		if err != nil {
			return nil, nil, err
		}
		nodes = []cluster.Node{node}
	}
	all := []T{}
	answers, err := clusters.Ask(ctx, record, nodes, nodeProgram, "show", what, "-o", "json")
	for i, answer := range answers {
		if len(answer) == 0 {
			continue
		}
		var list []T
		if problem := json.Unmarshal(answer, &list); problem != nil {
			err = errors.Join(err, fmt.Errorf("read what node %s has: %w", nodes[i].Name, problem))
		}
		all = append(all, list...)
	}
	return all, record.Nodes, err
}

func usageOf(err error) error {
	if errors.Is(err, show.ErrOutput) {
		return &UsageError{Err: err}
	}
	return err
}
