// SPDX-License-Identifier: Apache-2.0

package restore

import (
	"os"
	"slices"
	"strings"

	"eastwest/internal/cni/masquerade"
	"eastwest/internal/cni/portmap"
	"eastwest/internal/cni/sourceguard"
)

// shared are tables of iptables, and of the bridge family, that plugins write into.
var shared = []string{"nat", "filter"}

// Concerns reports whether a process that changed an nftables table may have taken away what plugins wrote. Plugins themselves do
// not: what they remove is to be gone.
func (k *Keeper) Concerns(table, process string) bool {
	if _, plugin := k.plugins[process]; plugin || process == k.process {
		return false
	}
	return table == sourceguard.TableName || table == masquerade.TableName || strings.HasPrefix(table, portmap.TableName) || slices.Contains(shared, table)
}

// ownProcess is the name of this process as the kernel knows it.
func ownProcess() string {
	name, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		return "" // its own changes then cost a look
	}
	return strings.TrimSpace(string(name))
}
