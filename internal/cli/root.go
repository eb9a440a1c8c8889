// SPDX-License-Identifier: Apache-2.0

// Package cli holds the commands of the program eastwest, one file each. A command parses what a person wrote, calls one
// package that does it, and prints: what was asked for to stdout, everything else to stderr. Exit status 0 is success, 1
// failure, 2 wrong usage.
package cli

import (
	"context"
	"io"
	"log/slog"

	"github.com/spf13/cobra"
)

// Streams are the program's standard streams.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// commands is the table of all commands, in the order in which help shows them.
func commands(s Streams) []*cobra.Command {
	return []*cobra.Command{
		newUp(s),
		newDown(s),
		newCluster(s),
		newNode(s),
		newImage(s),
		newKubectl(s),
		newDemo(s),
		newShow(s),
		newSibling("agent", "Run a node: kubelet, network, service proxy and DNS", nodeProgram),
		newSibling("proxy", "Run the service proxy alone", nodeProgram),
		newSibling("dns", "Run cluster DNS alone, or a forwarder", nodeProgram),
		newSibling("cri", "Run the container runtime server alone", nodeProgram),
		newSibling("explain", "Explain the path that a packet takes from this node", nodeProgram),
		newSibling("cni", "Run or install the CNI plugins", cniProgram),
		newSibling("server", "Run a control plane: etcd, API server, controllers and scheduler", serverProgram),
		newVersion(s),
	}
}

// Main runs the program with its arguments (without its name) and returns the exit status.
func Main(ctx context.Context, args []string, s Streams) int {
	root := &cobra.Command{
		Use:           "eastwest",
		Short:         "Kubernetes' cluster networking, whole: from the API object to the packet",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SetIn(s.In)
	root.SetOut(s.Out)
	root.SetErr(s.Err)
	root.SetArgs(args)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &UsageError{Err: err} })
	root.AddCommand(commands(s)...)
	parent(root)
	command, err := root.ExecuteContextC(ctx)
	return report(s.Err, command, err)
}

// logger logs to stderr what a person should see.
func logger(s Streams) *slog.Logger {
	return slog.New(slog.NewTextHandler(s.Err, &slog.HandlerOptions{Level: slog.LevelWarn}))
}
