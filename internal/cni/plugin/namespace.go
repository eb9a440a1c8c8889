// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"errors"
	"os"
	"strings"

	"github.com/containernetworking/cni/pkg/skel"

	"eastwest/internal/kernel/netns"
)

// refuseOwnNamespace keeps ADD from turning the host's own namespace into a container. skel makes the same check, but
// only after the work is done. CNI_NETNS_OVERRIDE switches both off.
func refuseOwnNamespace(args *skel.CmdArgs) error {
	if strings.EqualFold(args.NetnsOverride, "true") || args.NetnsOverride == "1" {
		return nil
	}
	same, err := netns.Same(args.Netns, "/proc/thread-self/ns/net")
	if errors.Is(err, os.ErrNotExist) {
		return NetNSError(args.Netns, os.ErrNotExist)
	}
	if err != nil {
		return NetNSError(args.Netns, err)
	}
	if same {
		return NetNSError(args.Netns, errors.New("plugin's netns and netns from CNI_NETNS should not be the same"))
	}
	return nil
}
