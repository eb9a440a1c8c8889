// SPDX-License-Identifier: Apache-2.0

// Package iptables reads and changes iptables through the programs of that name.
package iptables

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"eastwest/internal/kernel/netns"
	"eastwest/internal/kernel/transactions"
)

// ErrMissing says that the programs are not installed.
var ErrMissing = errors.New("the iptables programs are missing: install the package iptables")

// Family is an IP family; each has its own tables.
type Family string

// The families.
const (
	IPv4 Family = "IPv4"
	IPv6 Family = "IPv6"
)

// Conn talks to the iptables of one network namespace. It is safe for concurrent use.
type Conn struct {
	netns string
	own   transactions.Writers
	held  []*os.File
}

// New makes a connection to the network namespace at path, or to the program's own when path is empty.
func New(path string) *Conn { return &Conn{netns: path} }

// Holding returns a Conn whose programs have a file open as well: a lock that is not to be given up before they have ended.
func (c *Conn) Holding(f *os.File) *Conn { return &Conn{netns: c.netns, held: []*os.File{f}} }

// Save returns one table as iptables-save prints it.
func (c *Conn) Save(ctx context.Context, family Family, table string) (string, error) {
	return c.run(ctx, "", family.program()+"-save", "-t", table)
}

// Restore executes the input of iptables-restore and leaves what it does not name as it is. Each table of it changes as a
// whole or not at all.
func (c *Conn) Restore(ctx context.Context, family Family, input string) error {
	_, err := c.run(ctx, input, family.program()+"-restore", "--noflush", "--wait", "5")
	return err
}

// run runs a program. A child inherits the namespace of the thread that starts it.
func (c *Conn) run(ctx context.Context, stdin, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	var stdout, stderr bytes.Buffer
	cmd.ExtraFiles = c.held
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	if err := c.do(func() error { return c.own.Run(cmd) }); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			return "", ErrMissing
		}
		return "", fmt.Errorf("%s: %w: %s%s", program, err, bytes.TrimSpace(stderr.Bytes()), culprit(stderr.String(), stdin))
	}
	return stdout.String(), nil
}

// culprit returns the line of the input that the program complained about.
func culprit(complaint, input string) string {
	_, after, found := strings.Cut(complaint, "line ")
	if !found {
		return ""
	}
	var number int
	if _, err := fmt.Sscanf(after, "%d", &number); err != nil {
		return ""
	}
	lines := strings.Split(input, "\n")
	if number < 1 || number > len(lines) {
		return ""
	}
	return fmt.Sprintf(" (%s)", lines[number-1])
}

func (c *Conn) do(fn func() error) error {
	if c.netns == "" {
		return fn()
	}
	return netns.Do(c.netns, fn)
}

func (f Family) program() string {
	if f == IPv6 {
		return "ip6tables"
	}
	return "iptables"
}
