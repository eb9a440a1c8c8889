// SPDX-License-Identifier: Apache-2.0

// Package nft reads and changes nftables.
//
// Tables, chains and rules change rarely and are written as text through the nft program, which makes them atomic and
// readable. Set and map elements change all the time and go over netlink, in batches of bounded size: one change of one
// element costs microseconds at any size of the set.
package nft

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"

	"github.com/google/nftables"

	"eastwest/internal/kernel/netns"
	"eastwest/internal/kernel/transactions"
)

// ErrNotExist is returned for a table that does not exist.
var ErrNotExist = errors.New("no such nftables table")

// ErrExist is returned for a script that defines something that exists otherwise, such as a map of another type.
var ErrExist = errors.New("exists otherwise in nftables")

// ErrMissing says that the program is not installed.
var ErrMissing = errors.New("the program nft is missing: install the package nftables")

// Family is an nftables family.
type Family string

// The families in use.
const (
	IPv4 Family = "ip"
	IPv6 Family = "ip6"
	ARP  Family = "arp"
)

// Conn talks to the nftables of one network namespace. It is safe for concurrent use.
type Conn struct {
	netns string
	own   transactions.Writers

	mu   sync.Mutex
	idle *nftables.Conn // nil when there is none or somebody has it
}

// New makes a connection to the network namespace at path, or to the program's own when path is empty.
func New(path string) *Conn { return &Conn{netns: path} }

// Run has nft execute a script: all of it or, on an error, nothing.
func (c *Conn) Run(ctx context.Context, script string) error {
	_, err := c.nft(ctx, script, "-f", "-")
	if err != nil && (strings.Contains(err.Error(), "File exists") || strings.Contains(err.Error(), "datatype mismatch")) {
		return fmt.Errorf("run nft script: %w: %w", ErrExist, err)
	}
	if err != nil {
		return fmt.Errorf("run nft script: %w", err)
	}
	return nil
}

// List returns a table as nft prints it, without the elements of sets and maps but those that have no name; ErrNotExist when
// there is none.
//
// It is cut out of the whole ruleset: asked for one table, nft (1.0.6 at least) reads all elements to print none, which takes
// seconds where there are many. What others have may be more than this version of nft can print; then it is asked for the table.
//
// Whether there is one is asked of the kernel before: of somebody's 300,000 iptables rules nft takes a minute to find that out.
func (c *Conn) List(ctx context.Context, family Family, table string) (string, error) {
	there, err := c.Has(family, table)
	if err != nil {
		return "", fmt.Errorf("list table %s %s: %w", family, table, err)
	}
	if !there {
		return "", fmt.Errorf("list table %s %s: %w", family, table, ErrNotExist)
	}
	out, err := c.nft(ctx, "", "--stateless", "--terse", "list", "ruleset", string(family))
	if err == nil {
		if text, ok := cut(out, fmt.Sprintf("table %s %s {\n", family, table)); ok {
			return text, nil
		}
		return "", fmt.Errorf("list table %s %s: %w", family, table, ErrNotExist)
	}
	if errors.Is(err, ErrMissing) {
		return "", err
	}
	out, err = c.nft(ctx, "", "--stateless", "--terse", "list", "table", string(family), table)
	if err != nil && strings.Contains(err.Error(), "No such file or directory") {
		return "", fmt.Errorf("list table %s %s: %w", family, table, ErrNotExist)
	}
	if err != nil {
		return "", fmt.Errorf("list table %s %s: %w", family, table, err)
	}
	return out, nil
}

// cut returns the block of a listing that begins with a line.
func cut(listing, head string) (string, bool) {
	at := 0
	if !strings.HasPrefix(listing, head) {
		if at = strings.Index(listing, "\n"+head) + 1; at == 0 {
			return "", false
		}
	}
	block, _, ok := strings.Cut(listing[at:], "\n}\n")
	return block + "\n}\n", ok
}

// nft runs the program. A child inherits the namespace of the thread that starts it.
func (c *Conn) nft(ctx context.Context, stdin string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "nft", args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	if err := c.do(func() error { return c.own.Run(cmd) }); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			return "", ErrMissing
		}
		return "", fmt.Errorf("nft %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return stdout.String(), nil
}

func (c *Conn) do(fn func() error) error {
	if c.netns == "" {
		return fn()
	}
	return netns.Do(c.netns, fn)
}
