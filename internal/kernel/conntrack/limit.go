// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"eastwest/internal/kernel/sysctl"
)

const (
	limitName   = "net/netfilter/nf_conntrack_max"
	countName   = "net/netfilter/nf_conntrack_count"
	bucketsFile = "/sys/module/nf_conntrack/parameters/hashsize"

	// perBucket is how many entries a bucket of the kernel's table has when it is full, as the kernel chooses it itself.
	perBucket = 4
)

// Raise has the kernel track as many connections at least. A higher limit stays. Only the machine's own network namespace may
// change it, for all of them: elsewhere the error is os.ErrPermission.
func (c *Conn) Raise(limit int) error {
	return c.do(func() error {
		have, err := number(limitName)
		if err != nil || have >= limit {
			return err
		}
		if err := sysctl.Set(limitName, strconv.Itoa(limit)); err != nil {
			return err
		}
		return widen(limit / perBucket)
	})
}

// widen gives the table as many buckets at least.
func widen(buckets int) error {
	text, err := os.ReadFile(bucketsFile)
	if err != nil {
		return fmt.Errorf("read how many buckets connection tracking has: %w", err)
	}
	have, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return fmt.Errorf("read %s: %w", bucketsFile, err)
	}
	if have >= buckets {
		return nil
	}
	if err := os.WriteFile(bucketsFile, []byte(strconv.Itoa(buckets)), 0o600); err != nil {
		return fmt.Errorf("give connection tracking %d buckets: %w", buckets, err)
	}
	return nil
}

// count returns how many entries there are.
func (c *Conn) count() (n int, err error) {
	err = c.do(func() error {
		n, err = number(countName)
		return err
	})
	return n, err
}

func number(name string) (int, error) {
	text, err := sysctl.Get(name)
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, fmt.Errorf("read sysctl %s: %w", name, err)
	}
	return n, nil
}
