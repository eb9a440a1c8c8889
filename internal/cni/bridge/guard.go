// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"errors"
	"net"

	"github.com/containernetworking/cni/pkg/skel"
	current "github.com/containernetworking/cni/pkg/types/100"

	"eastwest/internal/cni/attach"
	"eastwest/internal/cni/plugin"
	"eastwest/internal/cni/sourceguard"
	"eastwest/internal/kernel/link"
)

// guard keeps addresses that are not the container's own behind its port, as far as the configuration asks for it.
func guard(c *config, o plugin.Owner, ends *attach.Ends, result *current.Result) error {
	port, mac := ends.Host.Attrs().Name, ends.Container.Attrs().HardwareAddr
	if c.MacSpoofCheck {
		if err := guardMAC(port, mac, o); err != nil {
			return err
		}
	}
	if !c.IPSpoofCheck {
		return nil
	}
	return sourceguard.Bridged{Owner: o, Port: port, MAC: mac, Addresses: addresses(result)}.Add()
}

// unguard removes what guard made.
func unguard(c *config, o plugin.Owner) error {
	var err error
	if c.MacSpoofCheck {
		err = releaseMAC(o)
	}
	if c.IPSpoofCheck {
		err = errors.Join(err, sourceguard.Remove(o))
	}
	return err
}

// sweepGuards removes the guards of containers that are not alive.
func sweepGuards(c *config, alive func(plugin.Owner) bool) error {
	var err error
	if c.IPSpoofCheck {
		err = sourceguard.Sweep(alive)
	}
	if !c.MacSpoofCheck {
		return err
	}
	host, openErr := link.Open()
	if openErr != nil {
		return errors.Join(err, openErr)
	}
	defer host.Close()
	return errors.Join(err, sweepMACs(host))
}

// checkGuard compares the guard of a port with the result that made it.
func checkGuard(c *config, args *skel.CmdArgs, port string, prev *current.Result) error {
	if !c.IPSpoofCheck {
		return nil
	}
	for _, i := range prev.Interfaces {
		if i.Name != args.IfName || i.Sandbox != args.Netns {
			continue
		}
		mac, err := net.ParseMAC(i.Mac)
		if err != nil {
			return plugin.ConfigError("prevResult, interface %s: %v", i.Name, err)
		}
		owner := plugin.Owner{Network: c.Name, ContainerID: args.ContainerID, IfName: args.IfName}
		return sourceguard.Bridged{Owner: owner, Port: port, MAC: mac, Addresses: addresses(prev)}.Check()
	}
	return nil
}
