// SPDX-License-Identifier: Apache-2.0

package transactions_test

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"eastwest/internal/kernel/netns"
	"eastwest/internal/kernel/netns/netnstest"
	"eastwest/internal/kernel/transactions"
)

// nft runs a script as another program does, or with writers as this one does.
func nft(t *testing.T, ns, script string, writers *transactions.Writers) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(script)
	run := cmd.Run
	if writers != nil {
		run = func() error { return writers.Run(cmd) }
	}
	if err := netns.Do(ns, run); err != nil {
		t.Fatalf("nft: %v: %.100s", err, script)
	}
}

func about(name string) func(transactions.Message) bool {
	return func(m transactions.Message) bool { return m.Name(unix.NFTA_TABLE_NAME) == name }
}

// What this program does with its own programs and what happens to other tables leaves a table untouched, what others do does not,
// until one begins to look anew.
func TestLedger(t *testing.T) {
	netnstest.RequireProgram(t, "nft")
	ns := netnstest.New(t)
	nft(t, ns, "add table ip ours\nadd table ip theirs\n", nil)
	writers, changes := &transactions.Writers{}, atomic.Int32{}
	ledger := transactions.NewLedger(ns, writers, about("ours"))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- ledger.Run(ctx, func(bool) { changes.Add(1) }) }()
	<-ledger.Begun()
	since, err := ledger.Generation()
	if err != nil {
		t.Fatal(err)
	}
	begin := since
	untouched := func(what string, transactions uint32, want bool) {
		t.Helper()
		before := since
		last, ok := ledger.Untouched(t.Context(), since)
		if ok != want || last != before+transactions {
			t.Errorf("%s: %d transactions, untouched %t", what, last-before, ok)
		}
		since = last
	}
	untouched("nothing", 0, true)
	nft(t, ns, "add set ip theirs names { type ipv4_addr; }\nadd chain ip theirs rules\n", nil)
	untouched("another table", 1, true)
	nft(t, ns, "add set ip ours names { type ipv4_addr; }\n", writers)
	nft(t, ns, "add element ip ours names { 192.0.2.1 }\n", writers)
	untouched("this program", 2, true)
	nft(t, ns, "list ruleset\n", nil)
	untouched("a look", 0, true)
	if n := changes.Load(); n != 0 {
		t.Errorf("%d changes by others were told", n)
	}
	for _, script := range []string{"add element ip ours names { 192.0.2.2 }\n", "add chain ip ours rules\n", "add rule ip ours rules accept\n", "flush ruleset\n"} {
		nft(t, ns, script, nil)
		untouched(script, 1, false)
	}
	untouched("nothing since", 0, true)
	if last, ok := ledger.Untouched(t.Context(), begin); ok {
		t.Errorf("what others did up to %d is forgotten", last)
	}
	if _, ok := ledger.Untouched(t.Context(), begin-1); ok {
		t.Error("it knows what happened before it began")
	}
	if n := changes.Load(); n != 4 {
		t.Errorf("%d changes by others were told, want 4", n)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the ledger ended with %v", err)
	}
	if _, ok := ledger.Untouched(t.Context(), since); ok {
		t.Error("a ledger that has ended knows something")
	}
}

// Of a burst that is longer than can be read nothing is known, and of what comes later all.
func TestLedgerThatLosesNews(t *testing.T) {
	netnstest.RequireProgram(t, "nft")
	ns := netnstest.New(t)
	rules := strings.Repeat("add rule ip theirs rules ip saddr 192.0.2.1 counter comment \""+strings.Repeat("x", 100)+"\"\n", 4000)
	told, release := make(chan struct{}, 1), make(chan struct{})
	ledger := transactions.NewLedger(ns, &transactions.Writers{}, func(m transactions.Message) bool {
		<-release // reads nothing meanwhile
		return false
	})
	go func() {
		_ = ledger.Run(t.Context(), func(bool) {
			select {
			case told <- struct{}{}:
			default:
			}
		})
	}()
	<-ledger.Begun()
	since, err := ledger.Generation()
	if err != nil {
		t.Fatal(err)
	}
	const bursts = 25
	for range bursts {
		nft(t, ns, "add table ip theirs\nadd chain ip theirs rules\n"+rules, nil)
	}
	close(release)
	<-told
	last, ok := ledger.Untouched(t.Context(), since)
	if ok || last != since+bursts {
		t.Errorf("after %d transactions: untouched %t", last-since, ok)
	}
	nft(t, ns, "add table ip more\n", nil)
	if now, ok := ledger.Untouched(t.Context(), last); !ok || now != last+1 {
		t.Errorf("after another one: %d, untouched %t", now-last, ok)
	}
}
