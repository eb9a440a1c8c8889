// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	newsGroup    = 7 // NFNLGRP_NFTABLES
	messageGen   = 15
	familyBytes  = 4 // struct nfgenmsg
	attrTable    = 1 // the table's name, in messages about tables, chains, rules, sets and elements alike
	attrProcess  = 3 // the name of the process, in the message that ends a transaction
	socketsKnown = 4096
)

// Watch calls changed soon after another program changed a table of this name, until ctx ends. What this Conn changes does
// not count, but for what it has the nft program do. When the kernel tells more than can be read, that counts as well.
func (c *Conn) Watch(ctx context.Context, table string, changed func()) error {
	return c.WatchTables(ctx, func(name, _ string) bool { return name == table }, changed)
}

// WatchTables is Watch for all tables that about says yes to. It is asked with the name of the process that made the change
// as well, as the kernel knows it: 15 bytes at most.
func (c *Conn) WatchTables(ctx context.Context, about func(table, process string) bool, changed func()) error {
	var conn *netlink.Conn
	err := c.do(func() (err error) {
		conn, err = netlink.Dial(unix.NETLINK_NETFILTER, &netlink.Config{Groups: 1 << (newsGroup - 1)})
		return err
	})
	if err != nil {
		return fmt.Errorf("listen to changes of nftables: %w", err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	touched := map[string]bool{}
	for {
		messages, err := conn.Receive()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, unix.ENOBUFS):
			changed()
			continue
		case err != nil:
			return fmt.Errorf("listen to changes of nftables: %w", err)
		}
		for _, m := range messages {
			if uint16(m.Header.Type)&0xff != messageGen {
				if name := textOf(m.Data, attrTable); name != "" && !c.own.has(m.Header.PID) {
					touched[name] = true
				}
				continue
			}
			process := textOf(m.Data, attrProcess) // this message ends a transaction
			for name := range touched {
				if about(name, process) {
					changed()
					break
				}
			}
			clear(touched)
		}
	}
}

// textOf returns an attribute of a message, "" where it has none.
func textOf(data []byte, attribute uint16) string {
	attributes, err := netlink.NewAttributeDecoder(data[min(familyBytes, len(data)):])
	for err == nil && attributes.Next() {
		if attributes.Type() == attribute {
			return attributes.String()
		}
	}
	return ""
}

// sockets remembers the addresses of the last sockets that this program wrote with.
type sockets struct {
	mu   sync.Mutex
	list map[uint32]bool
	ring []uint32
	next int
}

// addOf remembers a socket; one that cannot be asked counts as another program's.
func (s *sockets) addOf(conn *netlink.Conn) {
	rawConn, err := conn.SyscallConn()
	if err != nil {
		return
	}
	_ = rawConn.Control(func(fd uintptr) {
		if address, err := unix.Getsockname(int(fd)); err == nil {
			if own, ok := address.(*unix.SockaddrNetlink); ok {
				s.add(own.Pid)
			}
		}
	})
}

func (s *sockets) add(pid uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.list == nil {
		s.list = map[uint32]bool{}
	}
	if s.list[pid] {
		return
	}
	if len(s.ring) < socketsKnown {
		s.ring = append(s.ring, pid)
	} else {
		delete(s.list, s.ring[s.next])
		s.ring[s.next] = pid
		s.next = (s.next + 1) % socketsKnown
	}
	s.list[pid] = true
}

func (s *sockets) has(pid uint32) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.list[pid]
}
