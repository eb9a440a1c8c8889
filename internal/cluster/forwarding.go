// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"errors"

	"eastwest/internal/kernel/hostnet"
)

// wantForwarding lists the switches of the host's uplinks that have to be on. One that another cluster switched on is
// recorded here as well, with the value from before that: the last cluster to go restores it.
func (c *Clusters) wantForwarding(record *Record) ([]hostnet.Sysctl, error) {
	var wanted []hostnet.Sysctl
	for _, one := range record.IPFamily.families() {
		uplinks, err := hostnet.Uplinks(one.ipv6)
		if err != nil {
			return nil, err
		}
		changes, err := hostnet.WantForwarding(uplinks, one.ipv6)
		if err != nil {
			return nil, err
		}
		wanted = append(wanted, changes...)
	}
	records, err := c.records()
	if err != nil {
		return nil, err
	}
	known := map[string]bool{}
	for _, s := range wanted {
		known[s.Path] = true
	}
	for _, r := range records {
		for _, s := range r.Sysctls {
			if !known[s.Path] {
				known[s.Path] = true
				wanted = append(wanted, s)
			}
		}
	}
	return wanted, nil
}

// restoreForwarding undoes what wantForwarding recorded, save what other clusters still need.
func (c *Clusters) restoreForwarding(ctx context.Context, record *Record) error {
	lock, err := lockDir(ctx, c.config.StateDir)
	if err != nil {
		return err
	}
	defer lock.Close()
	records, err := c.records()
	if err != nil {
		return err
	}
	needed := map[string]bool{}
	for _, other := range records {
		for _, s := range other.Sysctls {
			needed[s.Path] = needed[s.Path] || other.Name != record.Name
		}
	}
	var errs []error
	for _, s := range record.Sysctls {
		if !needed[s.Path] {
			errs = append(errs, s.Restore())
		}
	}
	return errors.Join(errs...)
}
