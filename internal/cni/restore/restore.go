// SPDX-License-Identifier: Apache-2.0

// Package restore brings back what plugins made for attached containers and another program took away: guards of source
// and hardware addresses, masquerading, port mappings, rules of a firewall, and the way to them: routes, addresses, bridges. What there was is in the results that runtimes
// keep of ADD (libcni's cache).
//
//	cached configuration, capabilities and result ─▶ what each plugin of the list gets on stdin ─▶ its Restore
package restore

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/skel"

	"eastwest/internal/cni/attach"
	"eastwest/internal/cni/firewall"
	"eastwest/internal/cni/masquerade"
	"eastwest/internal/cni/plugin"
	"eastwest/internal/cni/portmap"
	"eastwest/internal/cni/program"
	"eastwest/internal/cni/sourceguard"
	"eastwest/internal/kernel/link"
	"eastwest/internal/kernel/netns"
)

// Config says where to look.
type Config struct {
	CacheDirs []string // of libcni; those that are not there count for nothing
	NetNS     string   // path of the node's network namespace; empty for that of the process
}

// Keeper restores, and remembers what it restored: a DEL that runs meanwhile may have removed its rules already, which then
// would stay.
type Keeper struct {
	config   Config
	plugins  plugin.Table
	process  string // the name of this one
	restored map[plugin.Owner]bool
}

// New returns a Keeper that has restored nothing yet.
func New(c Config) *Keeper {
	if c.NetNS == "" {
		c.NetNS = "/proc/thread-self/ns/net"
	}
	return &Keeper{config: c, plugins: program.Plugins(), process: ownProcess(), restored: map[plugin.Owner]bool{}}
}

// Restore puts back what is missing, of containers that are attached, and returns whose it was. What earlier calls restored
// of containers that are not attached any more is removed. It goes on after an error and returns all of them.
func (k *Keeper) Restore(ctx context.Context) (restored []plugin.Owner, err error) {
	err = netns.Do(k.config.NetNS, func() error {
		host, err := link.Open()
		if err != nil {
			return err
		}
		defer host.Close()
		errs := []error{sourceguard.DropBroken(), masquerade.DropBroken(), portmap.DropBroken()}
		for _, dir := range k.config.CacheDirs {
			cache := libcni.NewCNIConfigWithCacheDir(nil, filepath.Clean(dir), nil)
			attachments, err := cache.GetCachedAttachments("")
			errs = append(errs, err)
			for _, a := range attachments {
				again, err := k.restore(ctx, host, cache, a)
				if err != nil {
					errs = append(errs, fmt.Errorf("restore rules of container %s: %w", a.ContainerID, err))
				}
				if again {
					o := ownerOf(a)
					k.restored[o] = true
					restored = append(restored, o)
				}
			}
		}
		return errors.Join(append(errs, k.takeBack(ctx, host))...)
	})
	return restored, err
}

func ownerOf(a *libcni.NetworkAttachment) plugin.Owner {
	return plugin.Owner{Network: a.Network, ContainerID: a.ContainerID, IfName: a.IfName}
}

// restore has each plugin of an attachment restore its rules.
func (k *Keeper) restore(ctx context.Context, host *link.Handle, cache *libcni.CNIConfig, a *libcni.NetworkAttachment) (again bool, err error) {
	if end, err := attach.Find(host, ownerOf(a)); end == nil {
		return false, err
	}
	list, err := libcni.NetworkConfFromBytes(a.Config)
	if err != nil {
		return false, nil // of one plugin, or of another program
	}
	kept, err := cache.GetNetworkListCachedResult(list, &libcni.RuntimeConf{ContainerID: a.ContainerID, NetNS: a.NetNS, IfName: a.IfName})
	if err != nil || kept == nil {
		return false, err
	}
	var failed []error
	for _, p := range list.Plugins {
		r, ok := k.plugins[p.Network.Type].(plugin.Restorer)
		if !ok {
			continue
		}
		values := map[string]any{"name": list.Name, "cniVersion": list.CNIVersion, "prevResult": kept}
		if caps := capabilities(p, a); len(caps) > 0 {
			values["runtimeConfig"] = caps
		}
		conf, err := libcni.InjectConf(p, values)
		if err != nil {
			return again, err
		}
		missing, err := r.Restore(ctx, &skel.CmdArgs{ContainerID: a.ContainerID, Netns: a.NetNS, IfName: a.IfName, StdinData: conf.Bytes})
		again = again || missing
		failed = append(failed, err)
	}
	return again, errors.Join(failed...)
}

// capabilities are those of the runtime that a plugin declares.
func capabilities(p *libcni.PluginConfig, a *libcni.NetworkAttachment) map[string]any {
	out := map[string]any{}
	for name, wanted := range p.Network.Capabilities {
		if value, given := a.CapabilityArgs[name]; given && wanted {
			out[name] = value
		}
	}
	return out
}

// takeBack removes what was restored of containers whose cable is gone.
func (k *Keeper) takeBack(ctx context.Context, host *link.Handle) error {
	gone := map[plugin.Owner]bool{}
	for o := range k.restored {
		end, err := attach.Find(host, o)
		if err != nil {
			return err
		}
		if end == nil {
			gone[plugin.Owner{Network: o.Network, ContainerID: o.ContainerID}] = true
			gone[o] = true
		}
	}
	if len(gone) == 0 {
		return nil
	}
	for o := range k.restored { // rules of iptables do not say which interface of a container they are for
		if !gone[o] {
			delete(gone, plugin.Owner{Network: o.Network, ContainerID: o.ContainerID})
		}
	}
	written := map[string]bool{}
	for o := range gone {
		written[o.String()] = true
	}
	alive := func(o plugin.Owner) bool { return !written[o.String()] }
	err := errors.Join(portmap.Sweep(ctx, alive), masquerade.Sweep(ctx, alive), firewall.Sweep(ctx, alive), sourceguard.Sweep(alive))
	for o := range gone {
		if err == nil {
			delete(k.restored, o)
		}
	}
	return err
}
