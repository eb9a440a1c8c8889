// SPDX-License-Identifier: Apache-2.0

// Package nodecmd holds the commands of the program eastwest-node, one file each. It must stay small and start fast: it
// never imports the API server, the controllers or the full client set.
package nodecmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"
)

// Streams are the program's standard streams.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// commands is the table of all commands.
func commands(s Streams) []*cobra.Command {
	return []*cobra.Command{
		newAgent(s),
		newProxy(s),
		newDNS(s),
		newCRI(s),
		newExplain(s),
		newShow(s),
		newImage(s),
		newVersion(s),
	}
}

// usageError says that a command was called in a wrong way; the program ends with status 2.
type usageError struct{ error }

// Main runs the program with its arguments, the first of them the name that it was called by, and returns the exit status: 0,
// 1 when it failed, 2 for wrong usage.
func Main(ctx context.Context, args []string, s Streams) int {
	root := &cobra.Command{
		Use: filepath.Base(args[0]), Short: "A node of an eastwest cluster, or one part of it",
		SilenceErrors: true, SilenceUsage: true, CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.SetIn(s.In)
	root.SetOut(s.Out)
	root.SetErr(s.Err)
	root.SetArgs(args[1:])
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(commands(s)...)
	parent(root)
	command, err := root.ExecuteContextC(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintf(s.Err, "error: %v\n", err)
	var usage usageError
	if errors.As(err, &usage) {
		fmt.Fprintf(s.Err, "see: %s --help\n", command.CommandPath())
		return 2
	}
	return 1
}

// parent makes a command that only holds others: alone it prints help, with an unknown name it complains.
func parent(cmd *cobra.Command) *cobra.Command {
	cmd.Args = func(_ *cobra.Command, args []string) error {
		if len(args) > 0 {
			return usageError{fmt.Errorf("unknown command %q", args[0])}
		}
		return nil
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	return cmd
}

// arguments makes the complaints of a validator usage errors.
func arguments(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usageError{err}
		}
		return nil
	}
}
