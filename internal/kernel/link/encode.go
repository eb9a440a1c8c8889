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
