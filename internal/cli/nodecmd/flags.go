// SPDX-License-Identifier: Apache-2.0

package nodecmd

import (
	"fmt"
	"log/slog"
)

// parseEach parses every text of a flag that may be given several times.
func parseEach[T any](flag string, texts []string, parse func(string) (T, error)) ([]T, error) {
	var out []T
	for _, text := range texts {
		value, err := parse(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", flag, err)
		}
		out = append(out, value)
	}
	return out, nil
}

// logger logs to stderr: what is wrong, and with verbose what is done.
func logger(s Streams, verbose bool) *slog.Logger {
	level := slog.LevelWarn
	if verbose {
		level = slog.LevelInfo
	}
	return slog.New(slog.NewTextHandler(s.Err, &slog.HandlerOptions{Level: level}))
}
