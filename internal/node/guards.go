// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"path/filepath"
	"time"

	"eastwest/internal/cni/restore"
	"eastwest/internal/kernel/nft"
	"eastwest/internal/kernel/route"
)

// Times of looking after what plugins wrote. What concerns nobody's plugins can look as if it did, such as another program's
// rules in the table nat, so looking has its pause. A DEL that ran during a look is seen by the second look after it.
const (
	rulesSettle = 100 * time.Millisecond
	rulesPause  = time.Second
	rulesAgain  = 2 * time.Second
	rulesResync = time.Minute // the old iptables tells nobody of its changes
	rulesRetry  = 10 * time.Second
)

// keepPodRules brings back what CNI plugins wrote for pods when another program takes it away.
func (a *agent) keepPodRules(ctx context.Context) error {
	log := a.Log.With("part", "pod rules")
	keeper := restore.New(restore.Config{CacheDirs: []string{filepath.Join(a.StateDir, "cri", "cni"), "/var/lib/cni"}})
	look := make(chan struct{}, 1)
	look <- struct{}{} // they may be gone since the last agent
	changed := func() {
		select {
		case look <- struct{}{}:
		default:
		}
	}
	for what, watch := range map[string]func() error{
		"rules": func() error { return nft.New("").WatchTables(ctx, keeper.Concerns, changed) },
		"links": func() error { return route.New("").WatchLost(ctx, changed) },
	} {
		a.running.Go(func() {
			for told := false; ctx.Err() == nil; told = true {
				if err := watch(); ctx.Err() == nil && !told {
					log.Warn("changes of "+what+" go unnoticed; trying again", "err", err)
				}
				sleep(ctx, rulesRetry)
				changed() // for what went unnoticed
			}
		})
	}
	for next := rulesResync; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-look:
			next = rulesAgain
		case <-time.After(next):
			next = rulesResync
		}
		if !sleep(ctx, rulesSettle) {
			return nil
		}
		restored, err := keeper.Restore(ctx)
		for _, o := range restored {
			log.Info("another program removed what a pod has on its node: put back", "container", o.ContainerID, "network", o.Network)
		}
		if err != nil {
			log.Warn("what pods have on this node may be missing", "err", err)
		}
		if !sleep(ctx, rulesPause) {
			return nil
		}
	}
}
