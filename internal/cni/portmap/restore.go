// SPDX-License-Identifier: Apache-2.0

package portmap

import (
	"context"
	"errors"
	"strings"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/google/nftables"

	"eastwest/internal/cni/nftrule"
	"eastwest/internal/cni/nftset"
	"eastwest/internal/cni/plugin"
)

var _ plugin.Restorer = (*Plugin)(nil)

// Restore maps the ports again if one is not mapped.
func (*Plugin) Restore(ctx context.Context, args *skel.CmdArgs) (bool, error) {
	c, err := parse(args.StdinData)
	if err != nil || len(c.mappings) == 0 {
		return false, err
	}
	prev, err := plugin.NeedPrevResult(&c.PluginConf)
	if err != nil {
		return false, err
	}
	addrs, owner := containerAddrs(prev, args.IfName), ownerOf(c, args)
	bridged, err := c.prepare(addrs)
	if err != nil {
		return false, err
	}
	if c.backend == backendNFTables {
		err = check(desired(c, addrs, bridged, owner), owner.String())
	} else {
		for _, a := range addrs {
			err = errors.Join(err, checkChains(ctx, c, owner, a))
		}
	}
	if err == nil {
		return false, nil
	}
	err = c.mapTo(ctx, addrs, bridged, owner)
	c.forgetStale(ctx, args)
	return true, err
}

// DropBroken removes tables that have lost rules, so that the next ADD makes them again, whole.
func DropBroken() error {
	all, err := tables()
	if err != nil || len(all) == 0 {
		return err
	}
	return nftset.Locked(func() error {
		for _, t := range all {
			names, err := t.setNames()
			if err != nil {
				return err
			}
			if len(names) == 0 {
				continue // of an ADD that makes it just now, or was killed: the next one replaces it
			}
			want := map[string]int{"prerouting": 1, "output": 1, "hostports": 4, "postrouting": 4, "localnet": 1}
			if strings.HasPrefix(t.name, TableName+"_") { // the conditions of each family are a rule
				want["prerouting"], want["output"] = 2, 2
			}
			for _, name := range names {
				if strings.HasPrefix(name, nearPrefix) {
					want["postrouting"]++
				}
			}
			if err := nftrule.DropBroken(nftables.TableFamilyINet, t.name, want); err != nil {
				return err
			}
		}
		return nil
	})
}
