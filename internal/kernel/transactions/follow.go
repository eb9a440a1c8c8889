// SPDX-License-Identifier: Apache-2.0

// Package transactions follows the changes of nftables. The kernel numbers the transactions of a network namespace, and tells
// of every object that one touches who did it: so a program can know that up to some number nobody else changed what it wrote.
package transactions

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"eastwest/internal/kernel/nfnetlink"
)

const (
	newsGroup   = 7       // NFNLGRP_NFTABLES
	newsBytes   = 8 << 20 // of a few transactions that nobody has read yet
	bufferBytes = 1 << 16 // the kernel puts less into one
	getNumber   = 16      // NFT_MSG_GETGEN
	numberNews  = 15      // NFT_MSG_NEWGEN ends the news of a transaction
	number      = 1       // NFTA_GEN_ID
	process     = 3       // NFTA_GEN_PROC_NAME
	familyBytes = 4       // struct nfgenmsg
)

// Generation returns the number of the last transaction in the thread's network namespace.
func Generation() (generation uint32, err error) {
	conn, err := nfnetlink.Dial()
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	there := false
	err = conn.Ask(nfnetlink.Request{Subsystem: unix.NFNL_SUBSYS_NFTABLES, Operation: getNumber}, func(attributes []byte) error {
		generation, there = numberOf(attributes)
		return nil
	})
	if err == nil && !there {
		err = errors.New("the kernel named none")
	}
	if err != nil {
		return 0, fmt.Errorf("ask for the number of the last nftables transaction: %w", err)
	}
	return generation, nil
}

func numberOf(attributes []byte) (uint32, bool) {
	for a := range nfnetlink.Attributes(attributes) {
		if a.Kind == number && len(a.Value) == 4 {
			return binary.BigEndian.Uint32(a.Value), true
		}
	}
	return 0, false
}

// after reports whether a transaction came after another; their numbers begin anew after the largest.
func after(a, b uint32) bool { return int32(a-b) > 0 }

// Message says that a transaction touched a table, or a chain, rule, set or element in it.
type Message struct {
	Kind       uint8  // NFT_MSG_…
	Family     uint8  // NFPROTO_…
	Attributes []byte // valid until the function that gets it returns
}

// Name returns one of the attributes that are names.
func (m Message) Name(kind uint16) string {
	for a := range nfnetlink.Attributes(m.Attributes) {
		if a.Kind == kind {
			name, _, _ := bytes.Cut(a.Value, []byte{0})
			return string(name)
		}
	}
	return ""
}

// Transaction is what a transaction was, told after its messages.
type Transaction struct {
	Generation uint32
	Port       uint32 // of the socket that it came from
	Process    string // its name, as the kernel knows it: 15 bytes at most
}

// Listener hears of all transactions from when it was made.
type Listener struct {
	conn   *netlink.Conn
	buffer []byte
}

// Listen makes a listener in the thread's network namespace.
func Listen() (*Listener, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{Groups: 1 << (newsGroup - 1)})
	if err == nil {
		if err = conn.SetReadBuffer(newsBytes); err != nil {
			conn.Close()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("listen to changes of nftables: %w", err)
	}
	return &Listener{conn, make([]byte, bufferBytes)}, nil
}

// Follow tells of what happens until ctx ends, and closes the listener. lost is called when some of it could not be read.
func (l *Listener) Follow(ctx context.Context, touched func(Message), ended func(Transaction), lost func()) error {
	defer l.conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = l.conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	raw, err := l.conn.SyscallConn()
	if err != nil {
		return fmt.Errorf("listen to changes of nftables: %w", err)
	}
	for {
		data, err := l.receive(raw)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, unix.ENOBUFS):
			if err := l.drain(raw); err != nil && ctx.Err() == nil {
				return fmt.Errorf("listen to changes of nftables: %w", err)
			}
			lost()
			continue
		case err != nil:
			return fmt.Errorf("listen to changes of nftables: %w", err)
		}
		for len(data) >= unix.NLMSG_HDRLEN+familyBytes {
			length := int(binary.NativeEndian.Uint32(data))
			if length < unix.NLMSG_HDRLEN+familyBytes || length > len(data) {
				lost()
				break
			}
			m := Message{Kind: data[4], Family: data[unix.NLMSG_HDRLEN], Attributes: data[unix.NLMSG_HDRLEN+familyBytes : length]}
			if m.Kind == numberNews {
				generation, _ := numberOf(m.Attributes)
				ended(Transaction{generation, binary.NativeEndian.Uint32(data[12:]), m.Name(process)})
			} else {
				touched(m)
			}
			data = data[min((length+3)&^3, len(data)):]
		}
	}
}

// drain reads what is left after the kernel had no room for something. It says so once, and then drops more without a word until all is
// read.
func (l *Listener) drain(raw syscall.RawConn) (err error) {
	for err == nil || errors.Is(err, unix.EINTR) || errors.Is(err, unix.ENOBUFS) {
		waited := raw.Read(func(fd uintptr) bool {
			_, _, err = unix.Recvfrom(int(fd), l.buffer, unix.MSG_DONTWAIT)
			return true
		})
		if waited != nil {
			return waited
		}
	}
	if errors.Is(err, unix.EAGAIN) {
		return nil
	}
	return err
}

// receive reads into the one buffer: what a client of netlink makes anew for each message is most of the cost of many.
func (l *Listener) receive(raw syscall.RawConn) (data []byte, err error) {
	var size int
	waited := raw.Read(func(fd uintptr) bool {
		for size, err = -1, unix.EINTR; errors.Is(err, unix.EINTR); {
			size, _, err = unix.Recvfrom(int(fd), l.buffer, unix.MSG_TRUNC)
		}
		return !errors.Is(err, unix.EAGAIN)
	})
	switch {
	case waited != nil:
		return nil, waited
	case err != nil:
		return nil, err
	case size > len(l.buffer): // as good as lost
		return nil, unix.ENOBUFS
	}
	return l.buffer[:size], nil
}
