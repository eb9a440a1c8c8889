// SPDX-License-Identifier: Apache-2.0

package iptrule

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"

	"github.com/google/nftables"

	"eastwest/internal/cni/nftset"
	"eastwest/internal/kernel/iptables"
)

// Edit reads one family's table, lets fn ask for changes and makes them, while no other of these plugins does the same.
func Edit(ctx context.Context, family iptables.Family, name string, fn func(*Table) error) error {
	return nftset.LockedBy(func(lock *os.File) error { return edit(ctx, lock, family, name, fn) })
}

func edit(ctx context.Context, lock *os.File, family iptables.Family, name string, fn func(*Table) error) error {
	t, err := Read(ctx, family, name)
	if err == nil {
		err = fn(t)
	}
	if err != nil {
		return err
	}
	return t.commit(ctx, lock)
}

// Clean edits the table of both families, to remove what may be there. A host may lack one of the families, which then
// holds nothing; having neither, and having no iptables at all, is no error either.
func Clean(ctx context.Context, name string, fn func(*Table)) error {
	var failed []error
	for _, family := range []iptables.Family{iptables.IPv4, iptables.IPv6} {
		unreadable := true
		err := nftset.LockedBy(func(lock *os.File) error {
			if !exists(family, name) {
				return nil
			}
			return edit(ctx, lock, family, name, func(t *Table) error {
				unreadable = false
				fn(t)
				return nil
			})
		})
		if err != nil && !unreadable {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

// exists looks whether there is a table, of iptables over nftables or of the old one, which is far cheaper than to start
// a program that prints it. Where that cannot be told, it says yes.
func exists(family iptables.Family, name string) bool {
	nftFamily, names := nftables.TableFamilyIPv4, "/proc/thread-self/net/ip_tables_names"
	if family == iptables.IPv6 {
		nftFamily, names = nftables.TableFamilyIPv6, "/proc/thread-self/net/ip6_tables_names"
	}
	old, err := os.ReadFile(names)
	if err == nil && slices.Contains(strings.Fields(string(old)), name) || err != nil && !errors.Is(err, os.ErrNotExist) {
		return true
	}
	c, err := nftables.New()
	if err != nil {
		return true
	}
	tables, err := c.ListTablesOfFamily(nftFamily)
	return err != nil || slices.ContainsFunc(tables, func(t *nftables.Table) bool { return t.Name == name })
}
