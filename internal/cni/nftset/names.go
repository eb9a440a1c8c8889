// SPDX-License-Identifier: Apache-2.0

package nftset

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Info is what there is to know of a set but its elements.
type Info struct {
	Name    string
	Expires bool // its elements can expire
}

// Names lists the sets and maps of a table in the calling thread's network namespace; a table that does not exist has
// none.
func Names(family byte, table string) ([]string, error) {
	all, err := Infos(family, table)
	var names []string
	for _, i := range all {
		names = append(names, i.Name)
	}
	return names, err
}

// Infos is Names with more than the names.
func Infos(family byte, table string) ([]Info, error) {
	conn, err := Dial()
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return conn.Infos(family, table)
}

// Infos is the function's over this socket.
func (c *Conn) Infos(family byte, table string) ([]Info, error) {
	ae := netlink.NewAttributeEncoder()
	ae.String(unix.NFTA_SET_TABLE, table)
	attributes, err := ae.Encode()
	if err != nil {
		return nil, fmt.Errorf("list sets of %s: %w", table, err)
	}
	replies, err := c.socket.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETSET, Flags: netlink.Request | netlink.Dump},
		Data:   append([]byte{family, unix.NFNETLINK_V0, 0, 0}, attributes...),
	})
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list sets of %s: %w", table, err)
	}
	var all []Info
	for _, reply := range replies {
		info, err := infoOf(reply.Data)
		if err != nil {
			return nil, fmt.Errorf("list sets of %s: %w", table, err)
		}
		all = append(all, info)
	}
	return all, nil
}

func infoOf(data []byte) (Info, error) {
	ad, err := netlink.NewAttributeDecoder(data[min(nfHeader, len(data)):])
	if err != nil {
		return Info{}, err
	}
	ad.ByteOrder = binary.BigEndian
	var info Info
	for ad.Next() {
		switch ad.Type() {
		case unix.NFTA_SET_NAME:
			info.Name = ad.String()
		case unix.NFTA_SET_FLAGS:
			info.Expires = ad.Uint32()&unix.NFT_SET_TIMEOUT != 0
		}
	}
	return info, ad.Err()
}
