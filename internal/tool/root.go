// SPDX-License-Identifier: Apache-2.0

// Package tool is the command line of eastwest-tool. Without a command it serves; every other command is a client. The
// work is done by the packages below it: serve, request and resolve.
package tool

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

// Run executes the command that args name and returns the exit code: 0, 1 when what was asked failed, 2 for wrong usage,
// or the code that a client of the server asked for. What was asked goes to stdout, everything else to stderr. Commands
// that serve or wait end when ctx ends.
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	var code exitCode
	switch {
	case err == nil:
		return 0
	case errors.As(err, &code):
		return int(code)
	}
	fmt.Fprintln(stderr, "error:", err)
	var failed failure
	if errors.As(err, &failed) {
		return 1
	}
	return 2
}

// exitCode ends the program with a code and no message.
type exitCode int

func (c exitCode) Error() string { return fmt.Sprintf("exit code %d", int(c)) }

// failure marks an error of the work, as opposed to one of usage.
type failure struct{ error }

func (f failure) Unwrap() error { return f.error }

func failed(err error) error {
	if err == nil {
		return nil
	}
	var code exitCode
	if errors.As(err, &code) {
		return err
	}
	return failure{err}
}

func newRoot() *cobra.Command {
	serve := newServe()
	root := &cobra.Command{
		Use:               "eastwest-tool",
		Short:             "server and client of the image eastwest.local/tool",
		SilenceUsage:      true,
		SilenceErrors:     true,
		Args:              cobra.NoArgs,
		RunE:              serve.RunE,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.Flags().AddFlagSet(serve.Flags())
	root.AddCommand(serve, newRequest(), newEcho("tcp"), newEcho("udp"), newResolve(), newSleep())
	return root
}

// addOutput adds the flag -o; it returns the chosen form after parsing.
func addOutput(cmd *cobra.Command) *string {
	return cmd.Flags().StringP("output", "o", "", "output form: json, or empty for text")
}

// write prints v as JSON, or as its own text.
func write(w io.Writer, form string, v fmt.Stringer) error {
	switch form {
	case "":
		_, err := fmt.Fprint(w, v.String())
		return err
	case "json":
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		return encoder.Encode(v)
	}
	return fmt.Errorf("unknown output form %q: use json, or leave -o out", form)
}
