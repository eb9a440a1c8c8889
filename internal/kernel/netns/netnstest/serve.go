// SPDX-License-Identifier: Apache-2.0

package netnstest

import (
	"errors"
	"net"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
)

// Own gives the loopback of a namespace, which is up from then on, more addresses.
func Own(t testing.TB, path string, addrs ...netip.Addr) {
	t.Helper()
	In(t, path, func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		errs := []error{netlink.LinkSetUp(lo)}
		for _, addr := range addrs {
			errs = append(errs, netlink.AddrAdd(lo, &netlink.Addr{IPNet: netlink.NewIPNet(addr.AsSlice())}))
		}
		return errors.Join(errs...)
	})
}

// Serve has handle talk over each TCP connection to an address inside a namespace, which is closed afterwards, until the test ends.
func Serve(t testing.TB, path, address string, handle func(net.Conn)) {
	t.Helper()
	var listener net.Listener
	In(t, path, func() (err error) {
		listener, err = net.Listen("tcp", address)
		return err
	})
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				handle(conn)
			}()
		}
	}()
}
