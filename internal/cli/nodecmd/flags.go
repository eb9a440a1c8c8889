// SPDX-License-Identifier: Apache-2.0

package nodecmd

import (
	"log/slog"
)

// logger logs to stderr: what is wrong, and with verbose what is done.
func logger(s Streams, verbose bool) *slog.Logger {
	level := slog.LevelWarn
	if verbose {
		level = slog.LevelInfo
	}
	return slog.New(slog.NewTextHandler(s.Err, &slog.HandlerOptions{Level: level}))
}
