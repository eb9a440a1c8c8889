// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/binary"
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

const (
	nftGroup  = 7                                 // NFNLGRP_NFTABLES
	newGen    = unix.NFNL_SUBSYS_NFTABLES<<8 | 15 // NFT_MSG_NEWGEN ends the news of a transaction
	quiet     = 300 * time.Millisecond            // ends a burst of transactions
	longest   = 30 * time.Second
	newsBytes = 64 << 20
)

// news tells of every transaction of nftables, which iptables is made of as well.
type news int

func (l *lab) listen() (n news, err error) {
	err = inside(l.node, func() error {
		fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
		n = news(fd)
		return errors.Join(err, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, newsBytes),
			unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1 << (nftGroup - 1)}))
	})
	return n, err
}

// next waits for a burst of transactions and returns when its last one was over.
func (n news) next() (time.Time, error) {
	var last time.Time
	buffer := make([]byte, 1<<18)
	end := time.Now().Add(longest)
	for time.Now().Before(end) {
		wait := unix.NsecToTimeval(int64(quiet))
		unix.SetsockoptTimeval(int(n), unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait)
		size, _, err := unix.Recvfrom(int(n), buffer, 0)
		now := time.Now()
		if errors.Is(err, unix.EAGAIN) {
			if !last.IsZero() {
				return last, nil
			}
			continue
		}
		if err != nil && !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.EINTR) {
			return last, err
		}
		for data := buffer[:max(size, 0)]; len(data) >= unix.NLMSG_HDRLEN; {
			length := int(binary.NativeEndian.Uint32(data))
			if binary.NativeEndian.Uint16(data[4:]) == newGen {
				last = now
			}
			if length < unix.NLMSG_HDRLEN || length > len(data) {
				break
			}
			data = data[min((length+3)&^3, len(data)):]
		}
	}
	return last, errors.New("the kernel told of no change")
}

// drain forgets what was told so far.
func (n news) drain() {
	buffer := make([]byte, 1<<18)
	for {
		if _, _, err := unix.Recvfrom(int(n), buffer, unix.MSG_DONTWAIT); err != nil && !errors.Is(err, unix.ENOBUFS) {
			return
		}
	}
}
