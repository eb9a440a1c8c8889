// SPDX-License-Identifier: Apache-2.0

package cnitest

import (
	"os/exec"
	"strings"
	"time"

	"eastwest/internal/cni/nftset"
	"eastwest/internal/kernel/netns"
)

func (n *Node) in(fn func() error) error { return netns.Do(n.NS, fn) }

// Run runs a command in the node's namespace and returns what it printed; it fails the test if the command fails.
func (n *Node) Run(command ...string) string {
	n.t.Helper()
	return RunIn(n.t, n.NS, command...)
}

// RunIn runs a command in a namespace.
func RunIn(t interface {
	Helper()
	Fatalf(string, ...any)
}, ns string, command ...string) string {
	t.Helper()
	var out []byte
	err := netns.Do(ns, func() (err error) {
		out, err = exec.Command(command[0], command[1:]...).CombinedOutput()
		return err
	})
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(command, " "), err, out)
	}
	return string(out)
}

// Rules returns nftables' ruleset as it is when nothing in it is about to expire.
func (n *Node) Rules() string {
	for end := time.Now().Add(nftset.Tick); ; {
		rules := n.Run("nft", "list", "ruleset")
		if !strings.Contains(rules, "expires") || time.Now().After(end) {
			return rules
		}
	}
}
