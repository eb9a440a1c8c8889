// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"context"
	"errors"
	"strings"
	"time"

	"eastwest/internal/kernel/nfnetlink"
)

// How often Watch looks: the kernel, which costs nothing, or by starting programs.
const (
	lookingAtKernel  = 2 * time.Second
	lookingByProgram = 15 * time.Second
)

// Watch calls gone when one of some chains, of which there is one for each table, is missing or empty in either family, until
// ctx ends.
func (c *Conn) Watch(ctx context.Context, chains map[string]string, gone func()) error {
	inNftables, err := c.inNftables(ctx)
	pause, anyGone := lookingByProgram, c.listsNone
	if err == nil && inNftables {
		pause, anyGone = lookingAtKernel, c.hasNone
	}
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
		if anyGone(ctx, chains) {
			gone()
		}
	}
}

// hasNone asks the kernel whether a chain has no rules. An answer that does not come says nothing.
func (c *Conn) hasNone(_ context.Context, chains map[string]string) (none bool) {
	err := c.do(func() error {
		k, err := nfnetlink.Dial()
		if err != nil {
			return err
		}
		defer k.Close()
		for table, chain := range chains {
			for _, family := range []Family{IPv4, IPv6} {
				rules, err := countRules(k, family, Chain{table, chain})
				if err != nil {
					return err
				}
				none = none || rules == 0
			}
		}
		return nil
	})
	return none && err == nil
}

// listsNone has the program list the chains.
func (c *Conn) listsNone(ctx context.Context, chains map[string]string) bool {
	for table, chain := range chains {
		for _, family := range []Family{IPv4, IPv6} {
			text, err := c.run(ctx, "", family.program(), "--wait", "5", "-t", table, "-S", chain)
			if ctx.Err() == nil && !errors.Is(err, ErrMissing) && (err != nil || strings.Count(text, "\n") < 2) {
				return true
			}
		}
	}
	return false
}
