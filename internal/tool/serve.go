// SPDX-License-Identifier: Apache-2.0

package tool

import (
	"context"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"eastwest/internal/tool/serve"
)

func newServe() *cobra.Command {
	config := serve.Config{}
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "answer HTTP, TCP and UDP with this host's name and the client's address",
		Args:  cobra.NoArgs,
	}
	flags := cmd.Flags()
	flags.UintSliceVar(&config.HTTP, "http", []uint{80, 8080}, "ports to serve HTTP on")
	flags.UintSliceVar(&config.TCP, "tcp", []uint{9000}, "ports to answer lines on, over TCP")
	flags.UintSliceVar(&config.UDP, "udp", []uint{9000}, "ports to answer datagrams on, over UDP")
	flags.StringVar(&config.Address, "address", "", "address to listen on (default every address)")
	flags.DurationVar(&config.Drain, "drain", 0, "how long to go on serving after SIGTERM before closing the ports")
	flags.StringVar(&config.Hostname, "hostname", "", "name to answer with (default this host's name)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		config.Log = slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
		return failed(runServer(cmd.Context(), config))
	}
	return cmd
}

func runServer(ctx context.Context, config serve.Config) error {
	if config.Hostname == "" {
		name, err := os.Hostname()
		if err != nil {
			return err
		}
		config.Hostname = name
	}
	server, err := serve.New(config)
	if err != nil {
		return err
	}
	code, err := server.Run(ctx)
	if err == nil && code != 0 {
		return exitCode(code)
	}
	return err
}

func newSleep() *cobra.Command {
	return &cobra.Command{
		Use:   "sleep [DURATION]",
		Short: "wait, for ever or for a duration such as 90s, until SIGTERM",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				<-cmd.Context().Done()
				return nil
			}
			wait, err := time.ParseDuration(args[0])
			if err != nil {
				return err
			}
			select {
			case <-cmd.Context().Done():
			case <-time.After(wait):
			}
			return nil
		},
	}
}
