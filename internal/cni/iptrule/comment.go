// SPDX-License-Identifier: Apache-2.0

package iptrule

import (
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"strings"

	"eastwest/internal/cni/plugin"
)

// The reference plugins name a chain after its container with as many digits of a hash as iptables has room for, and
// say in a comment whose it is. Ours do the same, so that either finds what the other made.
const (
	chainLimit   = 28
	commentLimit = 255
)

// ChainName is the name of a container's chain: a prefix, and digits of the hash of network and container.
func ChainName(prefix string, o plugin.Owner) string {
	sum := sha512.Sum512([]byte(o.Network + o.ContainerID))
	return (prefix + hex.EncodeToString(sum[:]))[:chainLimit]
}

// Comment words whose a rule is, as a quoted argument of --comment. Prefix is what stands in front of the names.
func Comment(prefix string, o plugin.Owner) string {
	text := fmt.Sprintf("%sname: %q id: %q", prefix, o.Network, o.ContainerID)
	if len(text) > commentLimit {
		text = text[:commentLimit-2] + "..."
	}
	return `"` + strings.ReplaceAll(text, `"`, `\"`) + `"`
}

// Owner reads the owner of a rule from its comment, the interface left empty; false if there is none.
func Owner(rule string) (plugin.Owner, bool) {
	text := strings.ReplaceAll(rule, `\"`, `"`)
	network, found := between(text, `name: "`, `" id: "`)
	id, complete := between(text, `" id: "`, `"`)
	return plugin.Owner{Network: network, ContainerID: id}, found && complete && id != ""
}

func between(s, before, after string) (string, bool) {
	_, s, found := strings.Cut(s, before)
	s, _, closed := strings.Cut(s, after)
	return s, found && closed
}
