// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Attributes of include/uapi/linux/netfilter/nf_tables.h: of a list of elements, of an element, and of its data.
const (
	listTable, listSet, listElements               = 1, 2, 3
	elemKey, elemData, elemUser, elemKeyEnd        = 1, 2, 6, 10
	dataValue                                      = 1
	messageGet                                     = 13 // NFT_MSG_GETSETELEM
	messageNew                                     = 12 // NFT_MSG_NEWSETELEM
	together                                       = 200
	answerBytes                                    = 32 << 10 // an error repeats the request
	nested                                  uint16 = unix.NLA_F_NESTED
)

// Lookup returns those elements of a set or map that have one of the keys. It costs what is asked for, while the time that
// Elements takes grows with the square of what there is: the kernel counts through all that it has sent before each piece.
func (c *Conn) Lookup(ctx context.Context, family Family, table, set string, keys []string) ([]Element, error) {
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
		out, err = ask(conn, request(family, table, set, asked), out, buffer)
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

func request(family Family, table, set string, keys []string) netlink.Message {
	number := map[Family]byte{IPv4: unix.NFPROTO_IPV4, IPv6: unix.NFPROTO_IPV6, ARP: unix.NFPROTO_ARP}[family]
	var elements []byte
	for _, key := range keys {
		elements = attribute(elements, nested|1, attribute(nil, nested|elemKey, attribute(nil, dataValue, []byte(key))))
	}
	data := attribute([]byte{number, 0, 0, 0}, listTable, []byte(table+"\x00"))
	data = attribute(data, listSet, []byte(set+"\x00"))
	return netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | messageGet), Flags: netlink.Request | netlink.Acknowledge},
		Data:   attribute(data, nested|listElements, elements),
	}
}

// attribute appends one.
func attribute(to []byte, kind uint16, value []byte) []byte {
	to = binary.NativeEndian.AppendUint16(to, uint16(len(value)+4))
	to = append(binary.NativeEndian.AppendUint16(to, kind), value...)
	return append(to, make([]byte, -len(value)&3)...)
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
	for {
		var n int
		var failed error
		if err := raw.Read(func(fd uintptr) bool {
			n, _, failed = unix.Recvfrom(int(fd), buffer, 0)
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
			case unix.NFNL_SUBSYS_NFTABLES<<8 | messageNew:
				to = append(to, elementOf(find(find(body[familyBytes:], listElements), 1)))
			}
			data = data[min((length+3)&^3, len(data)):]
		}
	}
}

// elementOf reads one element.
func elementOf(data []byte) Element {
	value := func(kind uint16) string { return string(find(find(data, kind), dataValue)) }
	e := Element{Key: value(elemKey), Data: value(elemData), KeyEnd: value(elemKeyEnd)}
	// User data are kind, length and value; kind 0 is a comment.
	for user := find(data, elemUser); len(user) >= 2 && int(user[1])+2 <= len(user); user = user[int(user[1])+2:] {
		if user[0] == 0 {
			e.Comment = strings.TrimRight(string(user[2:2+int(user[1])]), "\x00")
		}
	}
	return e
}

// find returns the value of the first attribute of a kind.
func find(data []byte, kind uint16) []byte {
	for len(data) >= 4 {
		length := int(binary.NativeEndian.Uint16(data))
		if length < 4 || length > len(data) {
			return nil
		}
		if binary.NativeEndian.Uint16(data[2:])&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER) == kind {
			return data[4:length]
		}
		data = data[min((length+3)&^3, len(data)):]
	}
	return nil
}
