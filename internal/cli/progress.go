// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/term"
)

// progress tells a person what is going on: on a terminal one line that lives, elsewhere a line for each step.
type progress struct {
	w     io.Writer
	live  bool
	begin time.Time

	mu   sync.Mutex
	text string
	stop chan struct{}
	done sync.WaitGroup
}

func newProgress(w io.Writer) *progress {
	p := &progress{w: w, begin: time.Now(), stop: make(chan struct{})}
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		p.live = true
		p.done.Go(p.spin)
	}
	return p
}

// tell says what is done now.
func (p *progress) tell(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.text = text
	if !p.live {
		fmt.Fprintln(p.w, text)
	}
}

// spin redraws the line until close.
func (p *progress) spin() {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	const frames = `|/-\`
	for frame := 0; ; frame++ {
		p.mu.Lock()
		if p.text != "" {
			fmt.Fprintf(p.w, "\r\x1b[K%c %s (%.1f s)", frames[frame%len(frames)], p.text, time.Since(p.begin).Seconds())
		}
		p.mu.Unlock()
		select {
		case <-p.stop:
			fmt.Fprint(p.w, "\r\x1b[K")
			return
		case <-tick.C:
		}
	}
}

// close ends the living line. It may be called once.
func (p *progress) close() {
	close(p.stop)
	p.done.Wait()
}

// elapsed is the time since the beginning, in seconds, as text.
func (p *progress) elapsed() string { return fmt.Sprintf("%.1f s", time.Since(p.begin).Seconds()) }
