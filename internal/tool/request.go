// SPDX-License-Identifier: Apache-2.0

package tool

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"eastwest/internal/tool/request"
)

func newRequest() *cobra.Command {
	config := request.Config{}
	cmd := &cobra.Command{
		Use:   "request URL",
		Short: "send HTTP requests and count which host answered how often",
		Args:  cobra.ExactArgs(1),
	}
	addBounds(cmd, &config)
	fresh := cmd.Flags().Bool("new-connections", true, "open a connection for every request")
	output := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		config.Target, config.KeepAlive = args[0], !*fresh
		return report(cmd, *output, config, request.HTTP)
	}
	return cmd
}

func newEcho(network string) *cobra.Command {
	config := request.Config{}
	cmd := &cobra.Command{
		Use:   network + " HOST:PORT",
		Short: "send messages over " + network + " and count which host answered how often",
		Args:  cobra.ExactArgs(1),
	}
	addBounds(cmd, &config)
	cmd.Flags().StringVar(&config.Message, "message", "hello", "message to send")
	output := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		config.Target = args[0]
		ask := request.TCP
		if network == "udp" {
			ask = request.UDP
		}
		return report(cmd, *output, config, ask)
	}
	return cmd
}

func addBounds(cmd *cobra.Command, config *request.Config) {
	cmd.Flags().IntVarP(&config.Count, "count", "n", 1, "how many to send, one after the other")
	cmd.Flags().DurationVar(&config.Timeout, "timeout", 5*time.Second, "how long to wait for one answer")
}

type ask func(context.Context, request.Config) (*request.Report, error)

// report runs the requests and prints the outcome; any that failed make the command fail.
func report(cmd *cobra.Command, output string, config request.Config, run ask) error {
	result, err := run(cmd.Context(), config)
	if err != nil {
		return err
	}
	if err := write(cmd.OutOrStdout(), output, result); err != nil {
		return err
	}
	if result.Failed() > 0 {
		return exitCode(1)
	}
	return nil
}
