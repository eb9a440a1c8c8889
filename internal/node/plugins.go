// SPDX-License-Identifier: Apache-2.0

package node

import "eastwest/internal/cni/program"

// servePlugins does the calls of CNI plugins in this process, which costs a fraction of a plugin's own start. Where it cannot,
// they do them themselves.
func (a *agent) servePlugins() {
	log := a.Log.With("part", "cni")
	if err := program.Serve(a.ctx, log); err != nil {
		log.Warn("plugins do their calls themselves, slower", "err", err)
	}
}
