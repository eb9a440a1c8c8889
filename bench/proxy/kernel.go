// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"time"

	"golang.org/x/sys/unix"
)

const (
	nftGroup  = 7 // NFNLGRP_NFTABLES
	subsystem = unix.NFNL_SUBSYS_NFTABLES << 8
	newGen    = subsystem | 15         // NFT_MSG_NEWGEN ends the news of a transaction
	quiet     = 300 * time.Millisecond // ends a burst of transactions
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
		for m := range messages(buffer[:max(size, 0)]) {
			if m.kind == newGen {
				last = now
			}
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

// message is one of netlink.
type message struct {
	kind uint16
	data []byte
}

func messages(data []byte) iter.Seq[message] {
	return func(yield func(message) bool) {
		for len(data) >= unix.NLMSG_HDRLEN {
			length := int(binary.NativeEndian.Uint32(data))
			if length < unix.NLMSG_HDRLEN || length > len(data) || !yield(message{binary.NativeEndian.Uint16(data[4:]), data[unix.NLMSG_HDRLEN:length]}) {
				return
			}
			data = data[min((length+3)&^3, len(data)):]
		}
	}
}

// written says how much the kernel told of since the last time.
func (n news) written() string {
	kinds := map[uint16]string{6: "rules", 8: "rules", 12: "elements", 14: "elements"} // NFT_MSG_NEWRULE, DELRULE, NEWSETELEM, DELSETELEM
	counts := map[string]int{}
	buffer := make([]byte, 1<<18)
	for {
		size, _, err := unix.Recvfrom(int(n), buffer, unix.MSG_DONTWAIT)
		if errors.Is(err, unix.ENOBUFS) {
			return "more written than could be counted"
		}
		if err != nil {
			return fmt.Sprintf("%d rules and %d elements written", counts["rules"], counts["elements"])
		}
		for m := range messages(buffer[:size]) {
			counts[kinds[m.kind-subsystem]]++
		}
	}
}

// watchLock asks for the lock of nftables again and again, with transactions in which there is nothing. The function that it
// returns ends that and says how long the longest wait was.
func (l *lab) watchLock() (longest func() time.Duration, err error) {
	var fd int
	err = inside(l.node, func() (err error) {
		fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
		return err
	})
	if err != nil {
		return nil, err
	}
	var batch []byte
	for _, kind := range []uint16{unix.NFNL_MSG_BATCH_BEGIN, unix.NFNL_MSG_BATCH_END} {
		batch = binary.NativeEndian.AppendUint32(batch, unix.NLMSG_HDRLEN+4)
		batch = binary.NativeEndian.AppendUint16(batch, kind)
		batch = binary.NativeEndian.AppendUint16(batch, unix.NLM_F_REQUEST)
		batch = append(batch, make([]byte, 8+2)...) // sequence, port; family, version
		batch = binary.BigEndian.AppendUint16(batch, unix.NFNL_SUBSYS_NFTABLES)
	}
	stop, result := make(chan bool), make(chan time.Duration)
	go func() {
		defer unix.Close(fd)
		var most time.Duration
		for {
			begin := time.Now()
			unix.Sendto(fd, batch, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
			most = max(most, time.Since(begin))
			select {
			case <-stop:
				result <- most
				return
			case <-time.After(time.Millisecond):
			}
		}
	}()
	return func() time.Duration { stop <- true; return <-result }, nil
}
