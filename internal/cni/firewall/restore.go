// SPDX-License-Identifier: Apache-2.0

package firewall

import (
	"context"

	"github.com/containernetworking/cni/pkg/skel"
	current "github.com/containernetworking/cni/pkg/types/100"

	"eastwest/internal/cni/plugin"
)

var _ plugin.Restorer = (*Plugin)(nil)

// Restore opens the firewall again if it is closed for the container.
func (*Plugin) Restore(ctx context.Context, args *skel.CmdArgs) (missing bool, err error) {
	c, err := parse(args.StdinData)
	if err != nil {
		return false, err
	}
	err = c.call(args, func(b backend, o plugin.Owner, prev *current.Result) error {
		if prev == nil {
			return plugin.ConfigError("missing prevResult from earlier plugin")
		}
		if b.check(ctx, o, prev) != nil {
			missing = true
			if err := b.add(ctx, o, prev); err != nil {
				return err
			}
		}
		return c.isolate(ctx, prev)
	})
	return missing, err
}
