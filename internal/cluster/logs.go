// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"
)

// LogOptions say what of the logs is wanted.
type LogOptions struct {
	// Component is one process of the node; empty means all.
	Component string
	// Follow goes on until ctx ends.
	Follow bool
	// Tail is how many lines from the end of each log; negative means all.
	Tail int
}

// Logs copies the logs of a node's processes to w. More than one gets headings, as tail(1) prints them.
func (c *Clusters) Logs(ctx context.Context, cluster, name string, options LogOptions, w io.Writer) error {
	record, err := c.Record(ctx, cluster)
	if err != nil {
		return err
	}
	node, err := record.Node(name)
	if err != nil {
		return err
	}
	components := record.expected(node)
	if options.Component != "" {
		if !slices.Contains(components, options.Component) {
			return fmt.Errorf("node %s has no component %q: it has %s", node.Name, options.Component, strings.Join(components, ", "))
		}
		components = []string{options.Component}
	}
	m := c.machine(record, node)
	follower := follower{w: w, headings: len(components) > 1}
	for _, component := range components {
		follower.logs = append(follower.logs, &logFile{name: component, path: m.LogFile(component)})
	}
	return follower.run(ctx, options)
}

// logFile is a log and how much of it was printed.
type logFile struct {
	name, path string
	offset     int64
}

type follower struct {
	w        io.Writer
	headings bool
	last     string
	logs     []*logFile
}

func (f *follower) run(ctx context.Context, options LogOptions) error {
	for _, log := range f.logs {
		if options.Tail >= 0 {
			log.offset = lastLines(log.path, options.Tail)
		}
	}
	for {
		for _, log := range f.logs {
			if err := f.copyNew(log); err != nil {
				return err
			}
		}
		if !options.Follow {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// copyNew prints what was added to a log. A log that is not there yet is empty.
func (f *follower) copyNew(log *logFile) error {
	file, err := os.Open(log.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read log: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return fmt.Errorf("read log: %w", err)
	}
	if info.Size() < log.offset {
		log.offset = 0
	}
	if info.Size() == log.offset {
		return nil
	}
	if f.headings && f.last != log.name {
		f.last = log.name
		if _, err := fmt.Fprintf(f.w, "==> %s <==\n", log.name); err != nil {
			return err
		}
	}
	n, err := io.Copy(f.w, io.NewSectionReader(file, log.offset, info.Size()-log.offset))
	log.offset += n
	return err
}

// lastLines finds where the last lines of a file begin.
func lastLines(path string, lines int) int64 {
	content, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	end := len(bytes.TrimSuffix(content, []byte("\n")))
	if lines == 0 {
		return int64(len(content))
	}
	for ; lines > 0; lines-- {
		if end = bytes.LastIndexByte(content[:end], '\n'); end < 0 {
			return 0
		}
	}
	return int64(end + 1)
}
