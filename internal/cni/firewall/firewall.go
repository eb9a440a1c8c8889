// SPDX-License-Identifier: Apache-2.0

// Package firewall is the plugin firewall: it lets a container's packets through the host's own firewall.
//
// addresses in prevResult → a backend's rules. iptables: rules in chains that FORWARD jumps to, so that a policy of
// DROP there, which Docker sets, does not concern containers. firewalld: the addresses become sources of a zone.
package firewall

import (
	"context"
	"errors"
	"fmt"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"

	"eastwest/internal/cni/plugin"
)

// Plugin is firewall.
type Plugin struct{}

var _ plugin.Plugin = (*Plugin)(nil)

// New returns the plugin.
func New() *Plugin { return &Plugin{} }

// backend opens the host's firewall for addresses; each works on all of a container's at once.
type backend interface {
	add(ctx context.Context, o plugin.Owner, result *current.Result) error
	check(ctx context.Context, o plugin.Owner, result *current.Result) error
	// remove gets no result if the runtime has none to give.
	remove(ctx context.Context, o plugin.Owner, result *current.Result) error
}

// config holds the keys of the reference plugin.
type config struct {
	types.PluginConf
	Backend       string `json:"backend"`
	AdminChain    string `json:"iptablesAdminChainName"`
	FirewalldZone string `json:"firewalldZone"`
	IngressPolicy string `json:"ingressPolicy"`
}

// The values of ingressPolicy; none means open.
const (
	policyOpen       = "open"
	policySameBridge = "same-bridge"
	policyIsolated   = "isolated"
)

// decode reads a configuration without judging it. DEL and GC need no more: what ADD refused, or takes no longer, must not keep the
// container that came of it.
func decode(stdin []byte) (*config, error) {
	c := &config{}
	if err := plugin.Parse(stdin, c); err != nil {
		return nil, err
	}
	if c.AdminChain == "" {
		c.AdminChain = "CNI-ADMIN"
	}
	if c.FirewalldZone == "" {
		c.FirewalldZone = "trusted"
	}
	return c, nil
}

// parse reads and checks a configuration.
func parse(stdin []byte) (*config, error) {
	c, err := decode(stdin)
	if err != nil {
		return nil, err
	}
	switch c.Backend {
	case "", "iptables", "firewalld":
	default:
		return nil, plugin.ConfigError("unknown firewall backend %q: it must be iptables or firewalld", c.Backend)
	}
	switch c.IngressPolicy {
	case "", policyOpen, policySameBridge, policyIsolated:
	default:
		return nil, plugin.ConfigError("unknown ingress policy: %q", c.IngressPolicy)
	}
	return c, nil
}

// backend is the one asked for; without one, firewalld if it runs.
func (c *config) backend() (backend, func(), error) {
	if c.Backend != "iptables" {
		f, err := connectFirewalld(c.FirewalldZone)
		if err == nil {
			return f, f.close, nil
		}
		if c.Backend == "firewalld" {
			return nil, nil, err
		}
	}
	return chains{admin: c.AdminChain}, func() {}, nil
}

// call runs fn with the backend and the result of the plugins before, nil if there is none.
func (c *config) call(args *skel.CmdArgs, fn func(backend, plugin.Owner, *current.Result) error) error {
	prev, err := plugin.PrevResult(&c.PluginConf)
	if err != nil {
		return err
	}
	b, done, err := c.backend()
	if err != nil {
		return err
	}
	defer done()
	return fn(b, plugin.Owner{Network: c.Name, ContainerID: args.ContainerID, IfName: args.IfName}, prev)
}

// Add opens the firewall and passes the result on.
func (*Plugin) Add(ctx context.Context, args *skel.CmdArgs) (types.Result, error) {
	c, err := parse(args.StdinData)
	if err != nil {
		return nil, err
	}
	var result *current.Result
	err = c.call(args, func(b backend, o plugin.Owner, prev *current.Result) error {
		if prev == nil {
			return plugin.ConfigError("missing prevResult from earlier plugin")
		}
		result = prev
		if err := b.add(ctx, o, prev); err != nil {
			return errors.Join(err, b.remove(ctx, o, prev))
		}
		if err := c.isolate(ctx, prev); err != nil {
			return errors.Join(err, b.remove(ctx, o, prev))
		}
		return nil
	})
	return result, err
}

// Check looks whether the firewall is open for the container.
func (*Plugin) Check(ctx context.Context, args *skel.CmdArgs) error {
	c, err := parse(args.StdinData)
	if err != nil {
		return err
	}
	return c.call(args, func(b backend, o plugin.Owner, prev *current.Result) error {
		if prev == nil {
			return plugin.ConfigError("missing prevResult from earlier plugin")
		}
		return b.check(ctx, o, prev)
	})
}

// Del closes the firewall again. The rules of an ingress policy belong to the bridge and stay. A firewalld that does not run has
// forgotten what it was told.
func (*Plugin) Del(ctx context.Context, args *skel.CmdArgs) error {
	c, err := decode(args.StdinData)
	if err != nil {
		return err
	}
	err = c.call(args, func(b backend, o plugin.Owner, prev *current.Result) error {
		return b.remove(ctx, o, prev)
	})
	if errors.Is(err, errNoFirewalld) {
		return nil
	}
	return err
}

// GC removes the rules of attachments that are not valid any more. Firewalld does not keep whose a source is.
func (*Plugin) GC(ctx context.Context, args *skel.CmdArgs) error {
	c, err := decode(args.StdinData)
	if err != nil {
		return err
	}
	return Sweep(ctx, plugin.Valid(c.Name, c.ValidAttachments))
}

// Status asks for the backend that the configuration names.
func (*Plugin) Status(_ context.Context, args *skel.CmdArgs) error {
	c, err := parse(args.StdinData)
	if err != nil {
		return err
	}
	_, done, err := c.backend()
	if err != nil {
		return types.NewError(types.ErrPluginNotAvailable, fmt.Sprintf("firewall is not available: %v", err), "")
	}
	done()
	return nil
}
