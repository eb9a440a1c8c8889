// SPDX-License-Identifier: Apache-2.0

package program

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os/signal"

	"github.com/containernetworking/cni/pkg/types"
	"golang.org/x/sys/unix"

	"eastwest/internal/cni/entry"
	"eastwest/internal/cni/plugin"
	"eastwest/internal/cni/serve"
)

// pluginCommand does the call that this process was started for.
func pluginCommand(ctx context.Context, name, version string) int {
	call := plugin.Process()
	if entry.Lost() {
		return call.Fail(name, types.NewError(types.ErrTryAgainLater,
			"the process that serves plugins ended while it did this: what there is of it goes with DEL, then try again", ""))
	}
	return Plugins().Main(ctx, name, fmt.Sprintf("CNI %s plugin of eastwest %s", name, version), call)
}

// Serve does the calls of all plugins in this process until ctx ends.
func Serve(ctx context.Context, log *slog.Logger) error {
	all := Plugins()
	return serve.Run(ctx, serve.Config{Log: log, Main: func(ctx context.Context, name string, call *plugin.Call) int {
		return all.Main(ctx, name, "", call)
	}})
}

func serveCommand(ctx context.Context, args []string, stderr io.Writer) int {
	flags := flag.NewFlagSet(Name+" serve", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprintf(stderr, `Do the calls of all plugins in one process, until SIGINT or SIGTERM. Plugins that are started in the same network and mount
namespaces by root hand their calls over at %s; without this process, or when it is busy, they do them themselves.

Usage:
  %s serve [flags]

`, entry.Socket, Name)
		flags.PrintDefaults()
	}
	verbose := flags.Bool("v", false, "log each call")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(stderr, "unknown argument %q: serve takes none\n", flags.Arg(0))
		return 2
	}
	level := slog.LevelInfo
	if *verbose {
		level = slog.LevelDebug
	}
	ctx, stop := signal.NotifyContext(ctx, unix.SIGINT, unix.SIGTERM)
	defer stop()
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level}))
	if err := Serve(ctx, log); err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	return 0
}
