// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"errors"
	"fmt"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
)

// One socket is kept open from one use to the next: the kernel lets a program that closes one wait until it has freed what
// was deleted, a grace period of some 10 ms, with its lock on all of nftables held.

// borrow calls fn with a socket in the namespace, one that nobody else uses meanwhile.
func (c *Conn) borrow(fn func(*nftables.Conn) error) error {
	conn, err := c.take()
	if err != nil {
		return err
	}
	if err = fn(conn); err != nil {
		return errors.Join(err, conn.CloseLasting()) // answers may be left in it
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.idle == nil {
		c.idle = conn
		return nil
	}
	return conn.CloseLasting()
}

func (c *Conn) take() (conn *nftables.Conn, err error) {
	c.mu.Lock()
	conn, c.idle = c.idle, nil
	c.mu.Unlock()
	if conn != nil {
		return conn, nil
	}
	err = c.do(func() error {
		conn, err = c.open()
		return err
	})
	return conn, err
}

func (c *Conn) open() (*nftables.Conn, error) {
	grow := func(conn *netlink.Conn) error {
		c.own.Add(conn)
		return errors.Join(conn.SetReadBuffer(bufferBytes), conn.SetWriteBuffer(bufferBytes))
	}
	conn, err := nftables.New(nftables.AsLasting(), nftables.WithSockOptions(grow))
	if err != nil {
		return nil, fmt.Errorf("open netlink socket to nftables: %w", err)
	}
	return conn, nil
}
