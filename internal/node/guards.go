// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"path/filepath"
	"time"

	"eastwest/internal/cni/reguard"
	"eastwest/internal/cni/sourceguard"
	"eastwest/internal/kernel/nft"
)

// Times of looking after guards: plugins change them for every pod that comes and goes.
const (
	guardsSettle = time.Second
	guardsRetry  = 10 * time.Second
)

// keepGuards brings back what keeps foreign source addresses in pods' cables when another program takes it away.
func (a *agent) keepGuards(ctx context.Context) error {
	log := a.Log.With("part", "guards")
	config := reguard.Config{CacheDirs: []string{filepath.Join(a.StateDir, "cri", "cni"), "/var/lib/cni"}}
	look := make(chan struct{}, 1)
	look <- struct{}{} // they may be gone since the last agent
	a.running.Go(func() {
		for told := false; ctx.Err() == nil; told = true {
			err := nft.New("").Watch(ctx, sourceguard.TableName, func() {
				select {
				case look <- struct{}{}:
				default:
				}
			})
			if ctx.Err() == nil && !told {
				log.Warn("changes of guards go unnoticed; trying again", "err", err)
			}
			sleep(ctx, guardsRetry)
		}
	})
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-look:
		}
		if !sleep(ctx, guardsSettle) {
			return nil
		}
		restored, err := reguard.Restore(config)
		for _, o := range restored {
			log.Info("another program removed what a container may send from: put back", "container", o.ContainerID, "network", o.Network)
		}
		if err != nil {
			log.Warn("guards of source addresses may be missing", "err", err)
		}
	}
}
