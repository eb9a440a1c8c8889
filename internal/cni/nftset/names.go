// SPDX-License-Identifier: Apache-2.0

package nftset

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Names lists the sets and maps of a table in the calling thread's network namespace; a table that does not exist has
// none.
func Names(family byte, table string) ([]string, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, fmt.Errorf("list sets of %s: %w", table, err)
	}
	defer closeBeside(conn)
	ae := netlink.NewAttributeEncoder()
	ae.String(unix.NFTA_SET_TABLE, table)
	attributes, err := ae.Encode()
	if err != nil {
		return nil, fmt.Errorf("list sets of %s: %w", table, err)
	}
	replies, err := conn.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETSET, Flags: netlink.Request | netlink.Dump},
		Data:   append([]byte{family, unix.NFNETLINK_V0, 0, 0}, attributes...),
	})
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list sets of %s: %w", table, err)
	}
	var names []string
	for _, reply := range replies {
		name, err := setName(reply.Data)
		if err != nil {
			return nil, fmt.Errorf("list sets of %s: %w", table, err)
		}
		names = append(names, name)
	}
	return names, nil
}

func setName(data []byte) (string, error) {
	ad, err := netlink.NewAttributeDecoder(data[min(nfHeader, len(data)):])
	if err != nil {
		return "", err
	}
	ad.ByteOrder = binary.BigEndian
	var name string
	for ad.Next() {
		if ad.Type() == unix.NFTA_SET_NAME {
			name = ad.String()
		}
	}
	return name, ad.Err()
}
