// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"time"

	"eastwest/internal/cni/program"
)

// pluginsRetry is the pause after an attempt to serve plugins that failed: somebody else may have the socket.
const pluginsRetry = 10 * time.Second

// servePlugins does the calls of CNI plugins in this process, which costs a fraction of a plugin's own start. Where it cannot,
// they do them themselves.
func (a *agent) servePlugins(ctx context.Context) error {
	log := a.Log.With("part", "cni")
	for told := false; ; told = true {
		err := program.Serve(ctx, log)
		if err != nil && !told {
			log.Warn("plugins do their calls themselves, slower; trying again", "err", err)
		}
		if !sleep(ctx, pluginsRetry) {
			return nil
		}
	}
}
