// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"eastwest/internal/cluster/machine"
)

// watch follows the processes that were started: the first that ends, or the first step that fails, ends the context,
// so that nothing waits for what cannot come any more.
type watch struct {
	ctx    context.Context
	cancel context.CancelFunc
	once   sync.Once
	first  atomic.Pointer[error]
}

func newWatch(ctx context.Context) *watch {
	ctx, cancel := context.WithCancel(ctx)
	return &watch{ctx: ctx, cancel: cancel}
}

func (w *watch) stop() { w.cancel() }

// guard ends the watch when a step has failed.
func (w *watch) guard(err error) error {
	if err != nil {
		w.once.Do(func() { w.first.Store(&err) })
		w.cancel()
	}
	return err
}

// verdict is what the whole undertaking came to: what failed first, rather than what followed from it.
func (w *watch) verdict(err error) error {
	if first := w.first.Load(); err != nil && first != nil {
		return *first
	}
	return err
}

// follow starts a process on a node (the host if empty) and watches it. A nil process is one that ran already.
func (w *watch) follow(node string, start func() (*machine.Process, error)) error {
	p, err := start()
	if err != nil || p == nil {
		return err
	}
	go func() {
		select {
		case <-w.ctx.Done():
		case <-p.Done():
			err := p.Err()
			if err == nil {
				err = errors.New("exit status 0")
			}
			_ = w.guard(&ProcessError{Process: p.Name, Node: node, Log: p.Log, Tail: tail(p.Log), Err: err})
		}
	}()
	return nil
}

// tailLines and tailBytes bound what of a log is shown in an error.
const (
	tailLines = 12
	tailBytes = 8 << 10
)

// tail returns the last lines of a log.
func tail(file string) string {
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil {
		_, _ = f.Seek(max(0, info.Size()-tailBytes), 0)
	}
	text := make([]byte, tailBytes)
	n, _ := f.Read(text)
	lines := strings.Split(strings.TrimSpace(string(text[:n])), "\n")
	return strings.Join(lines[max(0, len(lines)-tailLines):], "\n")
}
