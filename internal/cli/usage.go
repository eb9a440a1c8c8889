// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

// Exit statuses.
const (
	exitFailed = 1
	exitUsage  = 2
)

// UsageError says that a command was called in a wrong way; the program ends with status 2.
type UsageError struct{ Err error }

// Error implements error.
func (e *UsageError) Error() string { return e.Err.Error() }

// Unwrap gives what was wrong.
func (e *UsageError) Unwrap() error { return e.Err }

// arguments makes the complaints of a validator usage errors.
func arguments(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return &UsageError{Err: err}
		}
		return nil
	}
}

// parent makes a command that only holds others: alone it prints help, with an unknown name it complains.
func parent(cmd *cobra.Command) *cobra.Command {
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		text := fmt.Sprintf("unknown command %q", args[0])
		for _, suggestion := range cmd.SuggestionsFor(args[0]) {
			text += fmt.Sprintf("; did you mean %q?", suggestion)
		}
		return &UsageError{Err: errors.New(text)}
	}
	cmd.SuggestionsMinimumDistance = 2
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	return cmd
}

// report prints an error and returns the exit status.
func report(w io.Writer, command *cobra.Command, err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintf(w, "error: %v\n", err)
	var usage *UsageError
	if errors.As(err, &usage) {
		fmt.Fprintf(w, "see: %s --help\n", command.CommandPath())
		return exitUsage
	}
	return exitFailed
}
