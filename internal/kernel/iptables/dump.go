// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// errDisturbed says that something changed while it was listed.
var errDisturbed = errors.New("changed while it was listed")

const (
	familyBytes  = 4       // struct nfgenmsg
	bufferBytes  = 1 << 16 // the kernel fills half of it at most
	longestPause = 30      // seconds: a kernel that says nothing for so long does not answer any more
)

// kernel is a socket to nftables. Its buffer is used again: a client of netlink that makes one for each answer takes most of the time
// of 100,000 short answers.
type kernel struct {
	fd       int
	sequence uint32
	buffer   []byte
}

func dial() (*kernel, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket to nftables: %w", err)
	}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: longestPause}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("set the timeout of a netlink socket: %w", err)
	}
	return &kernel{fd: fd, buffer: make([]byte, bufferBytes)}, nil
}

func (k *kernel) close() { unix.Close(k.fd) }

// named is an attribute with a name.
func named(kind uint16, name string) []byte {
	out := binary.NativeEndian.AppendUint16(nil, uint16(unix.NLA_HDRLEN+len(name)+1))
	out = append(binary.NativeEndian.AppendUint16(out, kind), name...)
	return append(out, make([]byte, 4-len(name)%4)...)
}

// dump hands what the kernel lists to each, without the header. The slices that it gets are its own until it returns.
func (k *kernel) dump(family Family, operation uint16, asked []byte, each func(message []byte) error) error {
	k.sequence++
	request := binary.NativeEndian.AppendUint32(nil, uint32(unix.NLMSG_HDRLEN+familyBytes+len(asked)))
	request = binary.NativeEndian.AppendUint16(request, unix.NFNL_SUBSYS_NFTABLES<<8|operation)
	request = binary.NativeEndian.AppendUint16(request, unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	request = binary.NativeEndian.AppendUint32(request, k.sequence)
	request = append(request, 0, 0, 0, 0, family.number(), unix.NFNETLINK_V0, 0, 0)
	if err := unix.Sendto(k.fd, append(request, asked...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("ask nftables: %w", err)
	}
	var failed error // what follows is read all the same
	for {
		size, _, err := unix.Recvfrom(k.fd, k.buffer, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read the answer of nftables: %w", err)
		}
		done, err := k.answer(k.buffer[:size], each, &failed)
		if done || err != nil {
			return errors.Join(failed, err)
		}
	}
}

// answer reads some messages; done says that they were the last.
func (k *kernel) answer(data []byte, each func([]byte) error, failed *error) (done bool, err error) {
	for len(data) >= unix.NLMSG_HDRLEN {
		length, kind := int(binary.NativeEndian.Uint32(data)), binary.NativeEndian.Uint16(data[4:])
		flags, sequence := binary.NativeEndian.Uint16(data[6:]), binary.NativeEndian.Uint32(data[8:])
		if length < unix.NLMSG_HDRLEN || length > len(data) {
			return true, errors.New("read the answer of nftables: it is cut off")
		}
		body := data[unix.NLMSG_HDRLEN:length]
		data = data[min((length+3)&^3, len(data)):]
		if sequence != k.sequence {
			continue
		}
		if flags&unix.NLM_F_DUMP_INTR != 0 && *failed == nil {
			*failed = errDisturbed
		}
		switch {
		case kind == unix.NLMSG_DONE:
			return true, nil
		case kind == unix.NLMSG_ERROR && len(body) >= 4:
			if code := int32(binary.NativeEndian.Uint32(body)); code != 0 {
				return true, fmt.Errorf("list what nftables has: %w", unix.Errno(-code))
			}
		case len(body) > familyBytes && *failed == nil:
			*failed = each(body[familyBytes:])
		}
	}
	return false, nil
}
