// SPDX-License-Identifier: Apache-2.0

package nft_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"eastwest/internal/kernel/netns/netnstest"
	"eastwest/internal/kernel/nft"
)

// What others do to the table is told, what this program does and what happens to other tables is not.
func TestWatch(t *testing.T) {
	ns := netnstest.New(t)
	conn, other := nft.New(ns), nft.New(ns)
	const script = "table ip ours {\n\tset names {\n\t\ttype ipv4_addr\n\t}\n}\ntable ip theirs {\n\tset names {\n\t\ttype ipv4_addr\n\t}\n}\n"
	if err := conn.Run(t.Context(), script); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	told, done := make(chan struct{}, 16), make(chan error, 1)
	go func() { done <- conn.Watch(ctx, "ours", func() { told <- struct{}{} }) }()
	change := func(c *nft.Conn, table, key string) {
		t.Helper()
		op := nft.Op{Family: nft.IPv4, Table: table, Set: "names", Add: []nft.Element{{Key: key}}}
		if err := c.Change(t.Context(), []nft.Op{op}); err != nil {
			t.Fatal(err)
		}
	}
	for begun := false; !begun; { // until the watch is there
		_ = other.Run(t.Context(), "add element ip ours names { 192.0.2.1 }\ndelete element ip ours names { 192.0.2.1 }\n")
		select {
		case <-told:
			begun = true
		case <-time.After(50 * time.Millisecond):
		}
	}
	for len(told) > 0 {
		<-told
	}
	change(conn, "ours", "\x01\x02\x03\x04")
	change(other, "theirs", "\x01\x02\x03\x04")
	change(other, "ours", "\x01\x02\x03\x05")
	<-told
	if err := other.Run(t.Context(), "flush ruleset\n"); err != nil {
		t.Fatal(err)
	}
	<-told
	if len(told) > 0 {
		t.Errorf("told %d times too often", len(told))
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("the watch ended with %v", err)
	}
}
