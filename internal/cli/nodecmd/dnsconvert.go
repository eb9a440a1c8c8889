// SPDX-License-Identifier: Apache-2.0

package nodecmd

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"eastwest/internal/dns/config"
)

func newDNSConvert(s Streams) *cobra.Command {
	return &cobra.Command{
		Use:   "convert COREFILE",
		Short: "Turn a Corefile into the file of --config",
		Long: `Read a Corefile (- is stdin) and write the file that --config takes to stdout. What is fixed at the start of a server
stands in its first line, as flags. What has no counterpart is named on stderr, with its line.`,
		Example: `  eastwest dns convert /etc/coredns/Corefile > dns.yaml
  kubectl -n kube-system get configmap coredns -o jsonpath={.data.Corefile} | eastwest dns convert - > dns.yaml`,
		Args: arguments(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error { return convert(s, args[0]) },
	}
}

func convert(s Streams, path string) error {
	in := s.In
	if path != "-" {
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		defer file.Close()
		in = file
	}
	text, err := io.ReadAll(io.LimitReader(in, 1<<20))
	if err != nil {
		return fmt.Errorf("read Corefile: %w", err)
	}
	c, err := config.Convert(string(text))
	if err != nil {
		return err
	}
	for _, left := range c.Left {
		fmt.Fprintln(s.Err, "not converted:", left)
	}
	out, err := yaml.Marshal(c.Config)
	if err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	fmt.Fprintf(s.Out, "# eastwest dns --config THIS-FILE %s\n%s", strings.Join(c.Flags, " "), out)
	return nil
}
