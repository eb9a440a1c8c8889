// SPDX-License-Identifier: Apache-2.0

package nodecmd

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"eastwest/internal/explain"
	"eastwest/internal/kernel/forward"
	"eastwest/internal/kernel/iptables"
	"eastwest/internal/kernel/ipvs"
	"eastwest/internal/kernel/nft"
)

// newExplain makes `eastwest-node explain`. Problems on the way are part of the answer; the exit code is 0 once the kernel
// was read.
func newExplain(s Streams) *cobra.Command {
	var from, to, netns, netnsDir, output string
	cmd := &cobra.Command{
		Use:   "explain --to ADDRESS:PORT[/PROTOCOL] [--from ADDRESS]",
		Short: "Show the way that a packet takes through this node, read from its kernel",
		Example: "  eastwest-node explain --from 10.244.1.2 --to 10.96.0.20:30050/tcp\n" +
			"  eastwest-node explain --to 10.96.0.10:53/udp -o json",
		Args: arguments(cobra.NoArgs),
	}
	flags := cmd.Flags()
	flags.StringVar(&from, "from", "", "source address, of a pod on this node or of a host beyond (default this node itself)")
	flags.StringVar(&to, "to", "", "destination address:port[/protocol], with tcp unless said otherwise")
	flags.StringVar(&netns, "netns", "", "network namespace of the node (default this program's own)")
	flags.StringVar(&netnsDir, "netns-dir", "/run/netns", "folder of the pods' network namespaces")
	flags.StringVarP(&output, "output", "o", "", "output form: json, or empty for text")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if output != "" && output != "json" {
			return usageError{fmt.Errorf("unknown output form %q: use json, or leave -o out", output)}
		}
		question, err := explain.Parse(from, to)
		if err != nil {
			return usageError{err}
		}
		kernel, err := forward.Open(netns, netnsDir)
		if err != nil {
			return err
		}
		defer kernel.Close()
		servers := ipvs.New(netns)
		defer servers.Close()
		path, err := explain.New(kernel, explain.Sources{Rules: nft.New(netns), Servers: servers, Chains: iptables.New(netns)}).Explain(cmd.Context(), question)
		if err != nil {
			return err
		}
		if output == "json" {
			encoder := json.NewEncoder(s.Out)
			encoder.SetIndent("", "  ")
			return encoder.Encode(path)
		}
		_, err = fmt.Fprint(s.Out, path)
		return err
	}
	return cmd
}
