// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"errors"
	"fmt"

	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"eastwest/internal/cni/attach"
	"eastwest/internal/cni/plugin"
	"eastwest/internal/kernel/link"
)

const maxVLAN = 4094

// nativeVLAN is what a trunk's untagged frames belong to where the configuration names none.
const nativeVLAN = 1

// trunk is an entry of "vlanTrunk": one VLAN, a range of them, or both.
type trunk struct {
	MinID *int `json:"minID"`
	MaxID *int `json:"maxID"`
	ID    *int `json:"id"`
}

// vlans is a range of VLANs.
type vlans struct{ first, last uint16 }

// tagged reports whether the bridge has to look at VLANs.
func (c *config) tagged() bool { return c.VLAN != 0 || c.VLANTrunk != nil }

// vlanLink is the name of the interface that is the gateway of a VLAN.
func (c *config) vlanLink() string { return fmt.Sprintf("%s.%d", c.Bridge, c.VLAN) }

// checkVLANs reads the keys vlan and vlanTrunk; the words are the reference plugin's.
func (c *config) checkVLANs() error {
	if c.VLAN < 0 || c.VLAN > maxVLAN {
		return plugin.ConfigError("invalid VLAN ID %d (must be between 0 and 4094)", c.VLAN)
	}
	inRange := func(id int) bool { return id > 0 && id <= maxVLAN }
	for _, t := range c.VLANTrunk {
		switch {
		case t.MinID == nil && t.MaxID != nil:
			return plugin.ConfigError("minID and maxID should be configured simultaneously, minID is missing")
		case t.MinID != nil && t.MaxID == nil:
			return plugin.ConfigError("minID and maxID should be configured simultaneously, maxID is missing")
		case t.MinID != nil && !inRange(*t.MinID):
			return plugin.ConfigError("incorrect trunk minID parameter")
		case t.MaxID != nil && !inRange(*t.MaxID):
			return plugin.ConfigError("incorrect trunk maxID parameter")
		case t.MinID != nil && *t.MaxID < *t.MinID:
			return plugin.ConfigError("minID is greater than maxID in trunk parameter")
		case t.ID != nil && !inRange(*t.ID):
			return plugin.ConfigError("incorrect trunk id parameter")
		}
		if t.MinID != nil {
			c.trunks = append(c.trunks, vlans{uint16(*t.MinID), uint16(*t.MaxID)})
		}
		if t.ID != nil {
			c.trunks = append(c.trunks, vlans{uint16(*t.ID), uint16(*t.ID)})
		}
	}
	if c.IPSpoofCheck && len(c.trunks) > 0 {
		return plugin.ConfigError("ipspoofchk and vlanTrunk exclude each other: what is inside of tagged frames is not looked at")
	}
	return nil
}

// filterVLANs has the bridge look at VLANs. Its ports stay in VLAN 1, where those are that have no other.
func filterVLANs(h *link.Handle, br netlink.Link) error {
	filters := func(l netlink.Link) bool {
		b, ok := l.(*netlink.Bridge)
		return ok && b.VlanFiltering != nil && *b.VlanFiltering
	}
	if filters(br) {
		return nil
	}
	name := br.Attrs().Name
	attrs, on := netlink.NewLinkAttrs(), true
	attrs.Name, attrs.Index = name, br.Attrs().Index
	err := h.LinkModify(&netlink.Bridge{LinkAttrs: attrs, VlanFiltering: &on}) // and nothing else of the bridge
	if err == nil {                                                            // some kernels take the wish and do nothing
		if br, err = h.LinkByName(name); err == nil && filters(br) {
			return nil
		}
	}
	if err == nil || errors.Is(err, unix.EOPNOTSUPP) {
		return types.NewError(types.ErrUnsupportedField,
			fmt.Sprintf("cannot use the keys vlan and vlanTrunk on bridge %s: this kernel's bridges filter no VLANs (CONFIG_BRIDGE_VLAN_FILTERING)", name), "")
	}
	return fmt.Errorf("have bridge %s filter VLANs: %w", name, err)
}

// joinVLANs makes a port a member of the VLANs of the configuration: of one for what has no tag, and of the trunk's.
func joinVLANs(h *link.Handle, port netlink.Link, vlan int, trunks []vlans, keepDefault bool) error {
	name := port.Attrs().Name
	if vlan == 0 && len(trunks) == 0 {
		return nil
	}
	if !keepDefault {
		if err := leaveVLANs(h, port); err != nil {
			return fmt.Errorf("take %s out of its default VLAN: %w", name, err)
		}
	}
	if vlan == 0 {
		vlan = nativeVLAN
	}
	for _, t := range trunks {
		add := func() error { return h.BridgeVlanAddRange(port, t.first, t.last, false, false, false, true) }
		if t.first == t.last { // which the kernel takes for no range
			add = func() error { return h.BridgeVlanAdd(port, t.first, false, false, false, true) }
		}
		if err := add(); err != nil {
			return fmt.Errorf("let VLANs %d to %d through %s: %w", t.first, t.last, name, err)
		}
	}
	if err := h.BridgeVlanAdd(port, uint16(vlan), true, true, false, true); err != nil {
		return fmt.Errorf("put %s into VLAN %d: %w", name, vlan, err)
	}
	return nil
}

// leaveVLANs takes a port out of the VLANs that it is in since it is one.
func leaveVLANs(h *link.Handle, port netlink.Link) error {
	all, err := h.BridgeVlanList()
	if err != nil {
		return err
	}
	for _, v := range all[int32(port.Attrs().Index)] {
		if err := h.BridgeVlanDel(port, v.Vid, false, false, false, true); err != nil {
			return err
		}
	}
	return nil
}

// gatewayLink returns the interface that has the gateway's addresses: the bridge, or with a VLAN one that is in it, at the
// other end of a cable to a port. That one is made if it is not there, and stays as the bridge does.
func gatewayLink(h *link.Handle, br netlink.Link, c *config) (netlink.Link, error) {
	if c.VLAN == 0 {
		return br, nil
	}
	name, portName := c.vlanLink(), attach.HostName(c.Bridge, c.vlanLink(), 0)
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = name, br.Attrs().MTU
	err := h.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: portName})
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, fmt.Errorf("make the gateway's interface %s: %w", name, err)
	}
	l, lookErr := h.LinkByName(name)
	if lookErr != nil {
		return nil, fmt.Errorf("look up the gateway's interface %s: %w", name, lookErr)
	}
	port, lookErr := h.LinkByName(portName)
	if lookErr != nil {
		return nil, fmt.Errorf("look up the port of %s: %w", name, lookErr)
	}
	if errors.Is(err, unix.EEXIST) && l.Attrs().Flags&unix.IFF_UP != 0 && port.Attrs().MasterIndex == br.Attrs().Index {
		return l, nil // it is set up last
	}
	if err := h.LinkSetMaster(port, br); err != nil {
		return nil, fmt.Errorf("connect %s to bridge %s: %w", portName, c.Bridge, err)
	}
	if err := joinVLANs(h, port, c.VLAN, nil, c.keepsDefault()); err != nil {
		return nil, err
	}
	if err := errors.Join(h.LinkSetUp(port), h.LinkSetUp(l)); err != nil {
		return nil, fmt.Errorf("set %s up: %w", name, err)
	}
	return l, nil
}

// describeVLAN adds the gateway's interface to a result.
func describeVLAN(h *link.Handle, c *config, result *current.Result) error {
	if c.VLAN == 0 || !c.IsGateway || len(result.IPs) == 0 {
		return nil
	}
	l, err := h.LinkByName(c.vlanLink())
	if err != nil {
		return fmt.Errorf("look up the gateway's interface %s: %w", c.vlanLink(), err)
	}
	result.Interfaces = append(result.Interfaces, &current.Interface{Name: c.vlanLink(), Mac: l.Attrs().HardwareAddr.String()})
	return nil
}

func (c *config) keepsDefault() bool { return c.PreserveDefaultVLAN == nil || *c.PreserveDefaultVLAN }
