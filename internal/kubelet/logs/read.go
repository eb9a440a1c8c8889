// SPDX-License-Identifier: Apache-2.0

package logs

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// Options say which part of a log is wanted.
type Options struct {
	Follow     bool
	Timestamps bool
	Since      time.Time // zero: from the beginning
	Tail       int64     // last lines; negative: all
	Limit      int64     // bytes; negative: all
	Stream     string    // stdout or stderr; empty: both
}

// Polling a file costs two system calls; a reader who follows sees a line within this time.
const (
	quickest = 10 * time.Millisecond
	slowest  = 200 * time.Millisecond
)

var errLimit = errors.New("enough")

// reader copies one log to its writers.
type reader struct {
	options        Options
	stdout, stderr io.Writer
	flush          func()
	left           int64
	began          bool // the last line went on: no timestamp now
}

// Read copies the log at path to the writers until its end, or, when following, until alive says that nothing will be added, or ctx
// ends. flush is called whenever the reader has caught up. Rotation (the path leading to a new file) is followed.
func Read(ctx context.Context, path string, o Options, alive func() bool, stdout, stderr io.Writer, flush func()) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open the log: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("examine the log: %w", err)
	}
	start, err := tailStart(f, info.Size(), o.Tail)
	if err != nil {
		return err
	}
	if _, err := f.Seek(start, io.SeekStart); err != nil {
		return fmt.Errorf("find the tail of the log: %w", err)
	}
	r := &reader{options: o, stdout: stdout, stderr: stderr, flush: flush, left: o.Limit}
	for {
		next, err := r.follow(ctx, path, f, alive)
		if errors.Is(err, errLimit) {
			return nil
		}
		if err != nil || next == nil {
			return err
		}
		_ = f.Close()
		f = next
	}
}

// follow copies one file. It returns the next file after a rotation, or nil at the end.
func (r *reader) follow(ctx context.Context, path string, f *os.File, alive func() bool) (*os.File, error) {
	in := bufio.NewReaderSize(f, block)
	var pending []byte
	wait := quickest
	ended := false
	for {
		part, err := in.ReadBytes('\n')
		pending = append(pending, part...)
		if err == nil {
			if err := r.write(pending); err != nil {
				return nil, err
			}
			pending, wait = pending[:0], quickest
			continue
		}
		if !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("read the log: %w", err)
		}
		r.flush()
		if !r.options.Follow || ended {
			return nil, nil
		}
		if next := rotated(path, f); next != nil {
			return next, nil
		}
		ended = !alive() // read once more: it may have said something just before it ended
		if !ended {
			select {
			case <-ctx.Done():
				return nil, nil
			case <-time.After(wait):
				wait = min(wait*2, slowest)
			}
		}
	}
}

func rotated(path string, f *os.File) *os.File {
	old, err := f.Stat()
	if err != nil {
		return nil
	}
	now, err := os.Stat(path)
	if err != nil || os.SameFile(old, now) {
		return nil
	}
	next, err := os.Open(path)
	if err != nil {
		return nil
	}
	return next
}

func (r *reader) write(raw []byte) error {
	line, err := Parse(raw)
	if err != nil {
		return nil // a line cut short by a crash says nothing
	}
	if !r.options.Since.IsZero() && line.Time.Before(r.options.Since) || r.options.Stream != "" && r.options.Stream != line.Stream {
		return nil
	}
	text := line.Text
	if r.options.Timestamps && !r.began {
		text = append([]byte(line.Time.Format(time.RFC3339Nano)+" "), text...)
	}
	r.began = len(line.Text) == 0 || line.Text[len(line.Text)-1] != '\n'
	enough := false
	if r.options.Limit >= 0 {
		if int64(len(text)) >= r.left {
			text, enough = text[:r.left], true
		}
		r.left -= int64(len(text))
	}
	w := r.stdout
	if line.Stream == "stderr" {
		w = r.stderr
	}
	if _, err := w.Write(text); err != nil {
		return err
	}
	if enough {
		r.flush()
		return errLimit
	}
	return nil
}
