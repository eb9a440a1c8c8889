// SPDX-License-Identifier: Apache-2.0

package link

import (
	"net"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// wire is an address as netlink has it: 4 bytes or 16.
func wire(ip net.IP) []byte {
	if v4 := ip.To4(); v4 != nil {
		return v4
	}
	return ip.To16()
}

// encodePair writes a request of RTM_NEWLINK for a veth pair (linux/veth.h). What describes an end is the same for both, but the other's comes within the
// first's.
func encodePair(r *nl.NetlinkRequest, v *netlink.Veth, sandbox uintptr) {
	r.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	for _, a := range end(v.Name, v.MTU, v.HardwareAddr) {
		r.AddData(a)
	}
	r.AddData(nl.NewRtAttr(unix.IFLA_GROUP, nl.Uint32Attr(v.Group)))
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated(v.Type()))
	peer := info.AddRtAttr(nl.IFLA_INFO_DATA, nil).AddRtAttr(nl.VETH_INFO_PEER, nil)
	nl.NewIfInfomsgChild(peer, unix.AF_UNSPEC)
	for _, a := range end(v.PeerName, int(v.PeerMTU), v.PeerHardwareAddr) {
		peer.AddChild(a)
	}
	peer.AddRtAttr(unix.IFLA_TXQLEN, nl.Uint32Attr(uint32(v.PeerTxQLen)))
	peer.AddRtAttr(unix.IFLA_NET_NS_FD, nl.Uint32Attr(uint32(sandbox)))
	r.AddData(info)
}

func end(name string, mtu int, mac net.HardwareAddr) []*nl.RtAttr {
	attributes := []*nl.RtAttr{
		nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name)),
		nl.NewRtAttr(unix.IFLA_ADDRESS, mac),
		nl.NewRtAttr(unix.IFLA_NUM_TX_QUEUES, nl.Uint32Attr(1)),
		nl.NewRtAttr(unix.IFLA_NUM_RX_QUEUES, nl.Uint32Attr(1)),
	}
	if mtu > 0 {
		attributes = append(attributes, nl.NewRtAttr(unix.IFLA_MTU, nl.Uint32Attr(uint32(mtu))))
	}
	return attributes
}

// encodeAddress writes a request of RTM_NEWADDR (rtnetlink(7)).
func encodeAddress(r *nl.NetlinkRequest, index int, a *netlink.Addr) {
	mask, peer := a.Mask, a.IP
	if a.Peer != nil {
		mask, peer = a.Peer.Mask, a.Peer.IP
	}
	bits, _ := mask.Size()
	info := nl.NewIfAddrmsg(nl.GetIPFamily(a.IP))
	info.Index, info.Prefixlen, info.Scope = uint32(index), uint8(bits), uint8(a.Scope)
	r.AddData(info)
	r.AddData(nl.NewRtAttr(unix.IFA_LOCAL, wire(a.IP)))
	r.AddData(nl.NewRtAttr(unix.IFA_ADDRESS, wire(peer)))
	if a.Flags != 0 {
		r.AddData(nl.NewRtAttr(unix.IFA_FLAGS, nl.Uint32Attr(uint32(a.Flags))))
	}
	// Networks of two addresses have none for all (RFC 3021).
	if v4 := a.IP.To4(); v4 != nil && bits < 31 {
		broadcast := make([]byte, len(v4))
		for i := range v4 {
			broadcast[i] = v4[i] | ^mask[len(mask)-len(v4)+i]
		}
		r.AddData(nl.NewRtAttr(unix.IFA_BROADCAST, broadcast))
	}
}

// encodeRoute writes a request of RTM_NEWROUTE (rtnetlink(7)).
func encodeRoute(r *nl.NetlinkRequest, index int, route *netlink.Route) {
	info := nl.NewRtMsg()
	bits, _ := route.Dst.Mask.Size()
	info.Family, info.Dst_len, info.Scope = uint8(nl.GetIPFamily(route.Dst.IP)), uint8(bits), uint8(route.Scope)
	if 0 < route.Table && route.Table < 256 {
		info.Table = uint8(route.Table)
	}
	r.AddData(info)
	r.AddData(nl.NewRtAttr(unix.RTA_DST, wire(route.Dst.IP)))
	if route.Src != nil {
		r.AddData(nl.NewRtAttr(unix.RTA_PREFSRC, wire(route.Src)))
	}
	if route.Gw != nil {
		r.AddData(nl.NewRtAttr(unix.RTA_GATEWAY, wire(route.Gw)))
	}
	if route.Table >= 256 {
		info.Table = unix.RT_TABLE_UNSPEC
		r.AddData(nl.NewRtAttr(unix.RTA_TABLE, nl.Uint32Attr(uint32(route.Table))))
	}
	if route.Priority > 0 {
		r.AddData(nl.NewRtAttr(unix.RTA_PRIORITY, nl.Uint32Attr(uint32(route.Priority))))
	}
	metrics := nl.NewRtAttr(unix.RTA_METRICS, nil)
	if route.MTU > 0 {
		metrics.AddRtAttr(unix.RTAX_MTU, nl.Uint32Attr(uint32(route.MTU)))
	}
	if route.AdvMSS > 0 {
		metrics.AddRtAttr(unix.RTAX_ADVMSS, nl.Uint32Attr(uint32(route.AdvMSS)))
	}
	if route.MTU > 0 || route.AdvMSS > 0 {
		r.AddData(metrics)
	}
	r.AddData(nl.NewRtAttr(unix.RTA_OIF, nl.Uint32Attr(uint32(index))))
}
