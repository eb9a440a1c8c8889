// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"
)

// lookEvery is how often a file is looked at.
const lookEvery = time.Second

// Read reads the file at path.
func Read(path string) (Config, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return Config{}, fmt.Errorf("read dns configuration: %w", err)
	}
	return Parse(text)
}

// Watch reads the file at path whenever its content changes, and hands it to apply, until ctx ends. A file that cannot be
// read leaves the last one in force. The content is compared and not the time: ConfigMaps are mounted as links that move.
func Watch(ctx context.Context, path string, apply func(Config), log *slog.Logger) {
	last, _ := os.ReadFile(path)
	watch(ctx, path, last, apply, log)
}

// Follow is Watch for a file that need not be there: what it says is applied as soon as it is.
func Follow(ctx context.Context, path string, apply func(Config), log *slog.Logger) {
	text, err := os.ReadFile(path)
	if err == nil {
		takeOver(path, text, apply, log)
	}
	watch(ctx, path, text, apply, log)
}

func watch(ctx context.Context, path string, last []byte, apply func(Config), log *slog.Logger) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		text, err := os.ReadFile(path)
		if err != nil || bytes.Equal(text, last) {
			continue
		}
		last = text
		takeOver(path, text, apply, log)
	}
}

func takeOver(path string, text []byte, apply func(Config), log *slog.Logger) {
	c, err := Parse(text)
	if err != nil {
		log.Error("dns configuration not taken over, the last one stays in force", "path", path, "err", err)
		return
	}
	apply(c)
	log.Info("dns configuration taken over", "path", path)
}
