// SPDX-License-Identifier: Apache-2.0

package neighbour

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// tell sends every neighbour on a link word that an address is here: a gratuitous ARP request (RFC 5227, section 3) or an
// unsolicited neighbour advertisement (RFC 4861, section 7.2.6). Those that know the address elsewhere correct themselves.
func tell(l netlink.Link, address netip.Addr) error {
	mac := l.Attrs().HardwareAddr
	if len(mac) != 6 {
		return nil // no Ethernet: nobody asks for hardware addresses
	}
	var err error
	if address.Is4() {
		err = send(l.Attrs().Index, address, mac)
	} else {
		err = advertise(l.Attrs().Index, address, mac)
	}
	if err != nil {
		return fmt.Errorf("tell the neighbours on %s: %w", l.Attrs().Name, err)
	}
	return nil
}

func send(index int, address netip.Addr, mac []byte) error {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	to := &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ARP), Ifindex: index, Halen: 6, Addr: [8]byte{255, 255, 255, 255, 255, 255}}
	return unix.Sendto(fd, request(address, mac), 0, to)
}

// request asks who has an address in the name of that very address (RFC 826).
func request(address netip.Addr, mac []byte) []byte {
	packet := []byte{0, 1, 8, 0, 6, 4, 0, 1} // Ethernet, IPv4, lengths, request
	packet = append(packet, mac...)
	packet = append(packet, address.AsSlice()...)
	packet = append(packet, make([]byte, 6)...)
	return append(packet, address.AsSlice()...)
}

func advertise(index int, address netip.Addr, mac []byte) error {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMPV6)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	// Receivers drop what might have come through a router.
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, 255); err != nil {
		return err
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, index); err != nil {
		return err
	}
	to := &unix.SockaddrInet6{ZoneId: uint32(index), Addr: netip.IPv6LinkLocalAllNodes().As16()}
	return unix.Sendto(fd, advertisement(address, mac), 0, to)
}

// advertisement says that a router has an address, and that this overrides what was known. The kernel fills in the
// checksum.
func advertisement(address netip.Addr, mac []byte) []byte {
	const router, override = 0x80, 0x20
	packet := []byte{136, 0, 0, 0, router | override, 0, 0, 0}
	packet = append(packet, address.AsSlice()...)
	return append(append(packet, 2, 1), mac...) // option: target link-layer address, 8 bytes
}

func htons(v uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], v)
	return binary.NativeEndian.Uint16(b[:])
}
