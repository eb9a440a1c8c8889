// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// listenUDP opens a port that is told the local address of every datagram, so that the answer leaves from the address
// that was asked even on a host that has several.
func listenUDP(address string) (*net.UDPConn, error) {
	at, err := net.ResolveUDPAddr("udp", address)
	if err != nil {
		return nil, err
	}
	conn, err := net.ListenUDP("udp", at)
	if err != nil {
		return nil, err
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	var v4, v6 error
	err = raw.Control(func(fd uintptr) {
		v6 = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
		v4 = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
	})
	if err != nil || v4 != nil && v6 != nil {
		return nil, errors.Join(err, v4, v6, conn.Close())
	}
	return conn, nil
}

func (s *Server) serveUDP(conn *net.UDPConn) error {
	packet, control := make([]byte, maxLine), make([]byte, 256)
	for {
		n, controls, _, client, err := conn.ReadMsgUDPAddrPort(packet, control)
		if err != nil {
			return err
		}
		from := netip.AddrPortFrom(client.Addr().Unmap(), client.Port())
		answer := fmt.Appendf(nil, "%s %s %s\n", s.config.Hostname, from, bytes.TrimRight(packet[:n], "\r\n"))
		if _, _, err := conn.WriteMsgUDPAddrPort(answer, sourceOf(control[:controls]), client); err != nil {
			// The client may be gone, or its network; others are not touched by that.
			s.config.Log.Debug("cannot answer datagram", "client", from, "error", err)
		}
	}
}

// sourceOf turns the received control message into one that sets the answer's source address. The interface is left to
// the routing table: the way back may be another one.
func sourceOf(control []byte) []byte {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return nil
	}
	for _, m := range messages {
		switch {
		case m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_PKTINFO && len(m.Data) >= 20:
			info := &unix.Inet6Pktinfo{}
			copy(info.Addr[:], m.Data)
			return unix.PktInfo6(info)
		case m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_PKTINFO && len(m.Data) >= 12:
			info := &unix.Inet4Pktinfo{}
			copy(info.Spec_dst[:], m.Data[4:])
			return unix.PktInfo4(info)
		}
	}
	return nil
}
