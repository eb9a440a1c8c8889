// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"eastwest/internal/kernel/nft/wire"
)

const (
	askers      = 2
	together    = 200
	answerBytes = 32 << 10 // an error repeats the request
	keyEnd      = 10       // NFTA_SET_ELEM_KEY_END of linux/netfilter/nf_tables.h
	getElements = unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETSETELEM
	newElements = unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_NEWSETELEM
)

// Lookup returns those elements of a set or map that have one of the keys, in no order. It costs what is asked for, while the time
// that Elements takes grows with the square of what there is: the kernel counts through all that it has sent before each piece.
func (c *Conn) Lookup(ctx context.Context, family Family, table, set string, keys []string) ([]Element, error) {
	var asking errgroup.Group
	// Half of the time is the kernel's, which answers several sockets at once.
	each := max(together, (len(keys)+askers-1)/askers)
	var found [askers][]Element
	for i, part := 0, keys; len(part) > 0; i++ {
		some := part[:min(each, len(part))]
		asking.Go(func() (err error) {
			found[i], err = c.lookup(ctx, family, table, set, some)
			return err
		})
		part = part[len(some):]
	}
	if err := asking.Wait(); err != nil {
		return nil, err
	}
	return slices.Concat(found[:]...), nil
}

// lookup asks on a socket of its own.
func (c *Conn) lookup(ctx context.Context, family Family, table, set string, keys []string) ([]Element, error) {
	var conn *netlink.Conn
	err := c.do(func() (err error) {
		conn, err = netlink.Dial(unix.NETLINK_NETFILTER, nil)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open netlink socket to nftables: %w", err)
	}
	defer conn.Close()
	if err := conn.SetReadBuffer(bufferBytes); err != nil {
		return nil, fmt.Errorf("open netlink socket to nftables: %w", err)
	}
	out, buffer := make([]Element, 0, len(keys)), make([]byte, answerBytes)
	for len(keys) > 0 {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		asked := keys[:min(together, len(keys))]
		have := len(out)
		question, err := request(family, table, set, asked)
		if err == nil {
			out, err = ask(conn, question, out, buffer)
		}
		if errors.Is(err, unix.ENOENT) && len(out)-have < len(asked) { // the first that is missing ends the answer
			keys = keys[len(out)-have+1:]
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("look up %d elements of set %s %s %s: %w", len(asked), family, table, set, err)
		}
		keys = keys[len(asked):]
	}
	return out, nil
}

func request(family Family, table, set string, keys []string) (netlink.Message, error) {
	attributes := netlink.NewAttributeEncoder()
	attributes.String(unix.NFTA_SET_ELEM_LIST_TABLE, table)
	attributes.String(unix.NFTA_SET_ELEM_LIST_SET, set)
	attributes.Nested(unix.NFTA_SET_ELEM_LIST_ELEMENTS, func(list *netlink.AttributeEncoder) error {
		for _, key := range keys {
			list.Nested(unix.NFTA_LIST_ELEM, func(element *netlink.AttributeEncoder) error {
				element.Nested(unix.NFTA_SET_ELEM_KEY, func(value *netlink.AttributeEncoder) error {
					value.Bytes(unix.NFTA_DATA_VALUE, []byte(key))
					return nil
				})
				return nil
			})
		}
		return nil
	})
	data, err := attributes.Encode()
	return netlink.Message{
		Header: netlink.Header{Type: getElements, Flags: netlink.Request | netlink.Acknowledge},
		Data:   append([]byte{byte(handle(family, table, set).Table.Family), unix.NFNETLINK_V0, 0, 0}, data...),
	}, err
}

// ask appends the answers to a request, until the kernel acknowledges it.
func ask(conn *netlink.Conn, m netlink.Message, to []Element, buffer []byte) ([]Element, error) {
	if _, err := conn.Send(m); err != nil {
		return to, err
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return to, err
	}
	var some []wire.Element
	for {
		var n int
		var failed error
		if err := raw.Read(func(fd uintptr) bool {
			n, failed = unix.Read(int(fd), buffer)
			return !errors.Is(failed, unix.EAGAIN)
		}); err != nil {
			return to, err
		}
		if failed != nil {
			return to, failed
		}
		for data := buffer[:n]; len(data) >= unix.NLMSG_HDRLEN; {
			length := int(binary.NativeEndian.Uint32(data))
			if length < unix.NLMSG_HDRLEN+4 || length > len(data) {
				return to, errors.New("the kernel sent a message that is cut off")
			}
			body := data[unix.NLMSG_HDRLEN:length]
			switch binary.NativeEndian.Uint16(data[4:]) {
			case unix.NLMSG_ERROR:
				if number := int32(binary.NativeEndian.Uint32(body)); number != 0 {
					return to, unix.Errno(-number)
				}
				return to, nil
			case newElements:
				some = wire.Elements(some[:0], body)
				for _, e := range some {
					to = append(to, Element{Key: string(e.Key), KeyEnd: string(e.KeyEnd), Data: string(e.Data), Comment: e.Comment})
				}
			}
			data = data[min((length+3)&^3, len(data)):]
		}
	}
}
