// SPDX-License-Identifier: Apache-2.0

package tool

import (
	"time"

	"github.com/spf13/cobra"

	"eastwest/internal/tool/resolve"
)

func newResolve() *cobra.Command {
	query := resolve.Query{}
	cmd := &cobra.Command{
		Use:   "resolve NAME",
		Short: "look a name up as /etc/resolv.conf says and show every step",
		Args:  cobra.ExactArgs(1),
	}
	flags := cmd.Flags()
	flags.StringVar(&query.Type, "type", "A", "record type: A, AAAA, SRV, PTR, TXT, CNAME, NS, SOA, MX")
	flags.StringVar(&query.Server, "server", "", "server to ask, address or address:port (default those of resolv.conf)")
	flags.StringVar(&query.ResolvConf, "resolv-conf", "/etc/resolv.conf", "file with servers, search path and options")
	flags.DurationVar(&query.Timeout, "timeout", 5*time.Second, "how long to wait for one answer")
	output := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		query.Name = args[0]
		answer, err := resolve.Resolve(cmd.Context(), query)
		if err != nil {
			return err
		}
		if err := write(cmd.OutOrStdout(), *output, answer); err != nil {
			return err
		}
		if len(answer.Records) == 0 {
			return exitCode(1)
		}
		return nil
	}
	return cmd
}
