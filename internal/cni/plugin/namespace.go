// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"errors"
	"os"
	"strings"

	"github.com/containernetworking/cni/pkg/skel"

	"eastwest/internal/kernel/netns"
)

// refuseOwnNamespace keeps ADD from turning the host's own namespace into a container. The reference library makes the same
// check, but only after the work is done. CNI_NETNS_OVERRIDE switches both off.
func refuseOwnNamespace(args *skel.CmdArgs) error {
	if overridden(args) {
		return nil
	}
	same, err := netns.Same(args.Netns, "/proc/thread-self/ns/net")
	if errors.Is(err, os.ErrNotExist) {
		return nil // who needs it says so: IPAM plugins, and those of the host's rules, do not
	}
	if err != nil {
		return NetNSError(args.Netns, err)
	}
	if same {
		return NetNSError(args.Netns, errors.New("plugin's netns and netns from CNI_NETNS should not be the same"))
	}
	return nil
}

// overridden: skel's switch for containers that share the host's namespace.
func overridden(args *skel.CmdArgs) bool {
	return strings.EqualFold(args.NetnsOverride, "true") || args.NetnsOverride == "1"
}
