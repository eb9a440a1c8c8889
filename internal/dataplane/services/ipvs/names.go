// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"net/netip"

	"eastwest/internal/kernel/ipvs"
	"eastwest/internal/kernel/nft"
	"eastwest/internal/table"
)

// TableName is the name of the nftables table in the families ip, ip6 and arp.
const TableName = "eastwest-ipvs"

// Sets and maps of the table. A frontend is an address, a protocol and a port.
const (
	setVirtual        = "virtual-server"      // frontends that IPVS has from us
	setAddress        = "service-address"     // addresses on the device
	setForward        = "direct"              // frontends that are never masqueraded
	setMasquerade     = "masqueraded"         // always
	setMasqOutside    = "masqueraded-outside" // for clients outside the cluster
	setRefused        = "refused"             // without endpoints
	setDropped        = "dropped"             // the same, where another node may have one
	setOutsideRefused = "refused-outside"     // the same, for clients outside the cluster alone
	setOutsideDropped = "dropped-outside"     //
	setSocket         = "local-socket"        // frontends that a socket of this node takes
	setRanged         = "source-ranged"       // frontends of load balancers with source ranges
	setAllowed        = "allowed-sources"     // and these
	setHairpin        = "hairpin"             // endpoints on this node, which may reach themselves
	setElsewhere      = "served-elsewhere"    // virtual addresses that another proxy serves
	setLoopback       = "loopback-port"       // node ports that are served on the loopback
	mapOutside        = "outside-alias"       // frontends that clients outside see otherwise : the alias that IPVS knows
	mapSocket         = "local-socket-alias"  // the same, of frontends that a socket takes first
)

// setsOf returns those whose elements come from services.
func setsOf(family int) []string {
	if family == arp {
		return []string{setAddress}
	}
	return dataSets
}

var dataSets = []string{
	setVirtual, setAddress, setForward, setMasquerade, setMasqOutside, setRefused, setDropped, setOutsideRefused,
	setOutsideDropped, setSocket, setRanged, setAllowed, setHairpin, setElsewhere, setLoopback, mapOutside, mapSocket,
}

// The addresses of aliases, which are on the device as well. IPVS knows one virtual server for an address and port; where two
// are needed, rules lead to the other one at an alias. The first is the IPv4 dummy address of RFC 7600.
var aliases = [2]netip.Addr{netip.MustParseAddr("192.0.0.8"), netip.MustParseAddr("fd65:6173:7477:6573::8")}

// Canary is a virtual server that is there while nobody else empties IPVS.
var Canary = ipvs.Key{Addr: aliases[0], Protocol: uint8(table.TCP), Port: canaryPort}

const canaryPort = 1<<16 - 1

// families have a table each; that of ARP has the addresses alone.
var families = [3]nft.Family{nft.IPv4, nft.IPv6, nft.ARP}

// arp is the place of ARP in families.
const arp = 2

// indexOf returns the place of an address's family in families.
func indexOf(addr netip.Addr) int {
	if addr.Is4() {
		return 0
	}
	return 1
}

// place names an element: its set or map, and its key there.
type place struct{ set, key string }

// value is what the element at a place holds.
type value struct {
	data, comment string
	end           string // last key of a range
}

func frontendKey(k ipvs.Key) string {
	key := append(k.Addr.AsSlice(), k.Protocol, 0, 0, 0)
	return string(append(key, byte(k.Port>>8), byte(k.Port), 0, 0))
}

func frontendOf(family int, key string) (ipvs.Key, bool) {
	n := addrBytes(family)
	if len(key) < n+8 {
		return ipvs.Key{}, false
	}
	addr, ok := netip.AddrFromSlice([]byte(key[:n]))
	return ipvs.Key{Addr: addr, Protocol: key[n], Port: uint16(key[n+4])<<8 | uint16(key[n+5])}, ok
}

func portKey(protocol table.Protocol, port uint16) string {
	return string([]byte{byte(protocol), 0, 0, 0, byte(port >> 8), byte(port), 0, 0})
}

func aliasData(k ipvs.Key) string {
	return string(append(k.Addr.AsSlice(), byte(k.Port>>8), byte(k.Port), 0, 0))
}

func addrBytes(family int) int { return aliases[family].BitLen() / 8 }

// comment cuts a label to what the kernel keeps.
func comment(label string) string {
	if len(label) > nft.MaxComment {
		return label[:nft.MaxComment-3] + "..."
	}
	return label
}
