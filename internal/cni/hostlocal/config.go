// SPDX-License-Identifier: Apache-2.0

package hostlocal

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"

	"eastwest/internal/cni/plugin"
)

// network is the whole configuration that an IPAM plugin gets: that of the plugin which calls it.
type network struct {
	types.PluginConf
	IPAM          *section `json:"ipam"`
	RuntimeConfig struct {
		IPRanges [][]span  `json:"ipRanges"`
		IPs      []request `json:"ips"`
	} `json:"runtimeConfig"`
	Args *struct {
		CNI *struct {
			IPs []request `json:"ips"`
		} `json:"cni"`
	} `json:"args"`
}

// section is the "ipam" key. A single range may stand in it directly, as in specification 0.2.
type section struct {
	span
	Type       string         `json:"type"`
	Routes     []*types.Route `json:"routes"`
	DataDir    string         `json:"dataDir"`
	ResolvConf string         `json:"resolvConf"`
	Ranges     [][]span       `json:"ranges"`
}

// span is a range as it is configured.
type span struct {
	RangeStart net.IP      `json:"rangeStart"`
	RangeEnd   net.IP      `json:"rangeEnd"`
	Subnet     types.IPNet `json:"subnet"`
	Gateway    net.IP      `json:"gateway"`
}

// request is an address asked for: "10.1.2.3" or "10.1.2.3/24".
type request struct{ addr netip.Addr }

// UnmarshalText takes an address with or without a prefix length.
func (r *request) UnmarshalText(text []byte) error {
	s, _, _ := strings.Cut(string(text), "/")
	addr, err := netip.ParseAddr(s)
	if err != nil {
		return fmt.Errorf("requested address: %w", err)
	}
	r.addr = addr.Unmap()
	return nil
}

// config is what the verbs work with.
type config struct {
	network    string
	dataDir    string
	resolvConf string
	sets       []rangeSet
	routes     []*types.Route
	requested  []netip.Addr
	valid      []types.GCAttachment
}

// configured is what a call says; a path that begins in no root is the caller's.
func configured(ctx context.Context, args *skel.CmdArgs) (*config, error) {
	c, err := parse(args.StdinData, args.Args)
	if err != nil {
		return nil, err
	}
	return c.of(ctx), nil
}

// configuredAnyhow is configured for DEL and GC, to which wrong ranges and requests do not matter: what ADD refused, or takes no longer,
// must not keep the container that came of it.
func configuredAnyhow(ctx context.Context, args *skel.CmdArgs) (*config, error) {
	c, _, err := decode(args.StdinData, args.Args)
	if err != nil {
		return nil, err
	}
	return c.of(ctx), nil
}

func (c *config) of(ctx context.Context) *config {
	c.dataDir = plugin.Of(ctx).Path(c.dataDir)
	c.resolvConf = plugin.Of(ctx).Path(c.resolvConf)
	return c
}

// parse reads and checks a configuration.
func parse(stdin []byte, cniArgs string) (*config, error) {
	c, wrong, err := decode(stdin, cniArgs)
	if err = cmp.Or(err, wrong); err != nil {
		return nil, err
	}
	return c, nil
}

// decode reads a configuration and says what is wrong with what it asks for.
func decode(stdin []byte, cniArgs string) (c *config, wrong, err error) {
	var n network
	if err := plugin.Parse(stdin, &n); err != nil {
		return nil, nil, err
	}
	if n.IPAM == nil {
		return nil, nil, plugin.ConfigError("IPAM config missing 'ipam' key")
	}
	c = &config{
		network:    n.Name,
		dataDir:    n.IPAM.DataDir,
		resolvConf: n.IPAM.ResolvConf,
		routes:     n.IPAM.Routes,
		valid:      n.ValidAttachments,
	}
	if c.dataDir == "" {
		c.dataDir = DefaultDataDir
	}
	c.requested, wrong = requested(&n, cniArgs)
	c.sets, err = sets(&n)
	return c, cmp.Or(wrong, err), nil
}

// requested collects the addresses asked for in CNI_ARGS (IP=…), in "args" and in the capability "ips".
func requested(n *network, cniArgs string) ([]netip.Addr, error) {
	var env struct {
		types.CommonArgs
		IP request
	}
	if err := types.LoadArgs(cniArgs, &env); err != nil {
		return nil, types.NewError(types.ErrInvalidEnvironmentVariables, fmt.Sprintf("CNI_ARGS %q: %v", cniArgs, err), "")
	}
	var all []netip.Addr
	if env.IP.addr.IsValid() {
		all = append(all, env.IP.addr)
	}
	if n.Args != nil && n.Args.CNI != nil {
		all = appendRequests(all, n.Args.CNI.IPs)
	}
	return appendRequests(all, n.RuntimeConfig.IPs), nil
}

func appendRequests(all []netip.Addr, more []request) []netip.Addr {
	for _, r := range more {
		if r.addr.IsValid() {
			all = append(all, r.addr)
		}
	}
	return all
}

// sets orders the range sets as the reference does, because a set's place names its last_reserved_ip file: the
// runtime's, then the single range, then "ranges".
func sets(n *network) ([]rangeSet, error) {
	all := append([][]span{}, n.RuntimeConfig.IPRanges...)
	if n.IPAM.Subnet.IP != nil {
		all = append(all, []span{n.IPAM.span})
	}
	all = append(all, n.IPAM.Ranges...)
	if len(all) == 0 {
		return nil, plugin.ConfigError("no IP ranges specified")
	}
	out := make([]rangeSet, len(all))
	families := map[bool]int{}
	for i, spans := range all {
		set, err := newRangeSet(spans)
		if err != nil {
			return nil, plugin.ConfigError("invalid range set %d: %v", i, err)
		}
		for j := range i {
			if out[j].overlaps(set) {
				return nil, plugin.ConfigError("range set %d overlaps with %d", j, i)
			}
		}
		out[i] = set
		families[set[0].start.Is4()]++
	}
	if families[true] > 1 || families[false] > 1 {
		if ok, err := version.GreaterThanOrEqualTo(n.CNIVersion, "0.3.0"); err != nil || !ok {
			return nil, plugin.ConfigError("CNI version %s does not support more than 1 address per family", n.CNIVersion)
		}
	}
	return out, nil
}
