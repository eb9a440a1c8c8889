// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Call is what a process is given for one call of a plugin: section 2 of the specification. Whoever answers calls in one
// process for others makes one for each; Process is that of the process itself.
type Call struct {
	Program        string   // file of the program that was called
	Dir            string   // where relative paths begin; empty for the process's own
	Environ        []string // KEY=VALUE; of a name that is there twice the last one counts
	Stdin          io.Reader
	Stdout, Stderr io.Writer
}

// Process is the call that this process was started with.
func Process() *Call {
	return &Call{Program: "/proc/self/exe", Environ: os.Environ(), Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
}

// Getenv returns a variable of the call, "" when it has none.
func (c *Call) Getenv(name string) string {
	for i := len(c.Environ) - 1; i >= 0; i-- {
		if value, is := strings.CutPrefix(c.Environ[i], name+"="); is {
			return value
		}
	}
	return ""
}

// Path returns where a path of the call's configuration leads to. The empty path stays empty.
func (c *Call) Path(path string) string {
	if path == "" || c.Dir == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(c.Dir, path)
}

type callKey struct{}

// Of returns the call that ctx belongs to: what plugins start gets its environment, and what they say goes to its Stderr.
// Outside of a call it is that of the process.
func Of(ctx context.Context) *Call {
	if c, ok := ctx.Value(callKey{}).(*Call); ok {
		return c
	}
	return Process()
}
