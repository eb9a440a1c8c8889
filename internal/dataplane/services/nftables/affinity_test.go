// SPDX-License-Identifier: Apache-2.0

package nftables_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"eastwest/internal/kernel/netns/netnstest"
	"eastwest/internal/kernel/nft"
	"eastwest/internal/table"
)

// A client whose first draw was an empty slot, as a service with very many endpoints has some, is remembered where it went at last.
func TestClientsOfEmptySlots(t *testing.T) {
	ns := netnstest.New(t)
	backend, kernel := newBackend(t, ns)
	endpoints := []string{"10.244.0.2:80", "10.244.0.3:80", "10.244.0.4:80", "10.244.0.5:80"}
	row := nginx(endpoints...)
	row.Frontends = row.Frontends[:1]
	row.Frontends[0].AffinitySeconds = 600
	netnstest.In(t, ns, func() error { return ownAddresses(row, endpoints) })
	for _, addr := range endpoints {
		serveName(t, ns, addr)
	}
	if err := backend.Apply(t.Context(), tableOf(row), table.Keys{All: true}); err != nil {
		t.Fatal(err)
	}
	client := remembered(nft.IPv4, row.Frontends[0], 300) // the client is the frontend's own address
	op := nft.Op{Family: nft.IPv4, Table: "eastwest", Set: "address-affinity", Add: []nft.Element{client}}
	if err := kernel.Conn.Change(t.Context(), []nft.Op{op}); err != nil {
		t.Fatal(err)
	}
	answers := map[string]int{}
	for range 16 {
		netnstest.In(t, ns, func() error {
			from := &net.TCPAddr{IP: row.Frontends[0].Addr.AsSlice()}
			conn, err := (&net.Dialer{LocalAddr: from}).DialContext(t.Context(), "tcp", netip.AddrPortFrom(row.Frontends[0].Addr, row.Frontends[0].Port).String())
			if err != nil {
				return err
			}
			defer conn.Close()
			name := make([]byte, 64)
			n, err := conn.Read(name)
			answers[string(name[:n])]++
			return err
		})
	}
	if len(answers) != 1 {
		t.Errorf("answers %v, want those of one endpoint", answers)
	}
}

// ownAddresses gives the loopback the addresses of a row's frontend and endpoints.
func ownAddresses(row table.Service, endpoints []string) error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	errs := []error{netlink.LinkSetUp(lo)}
	addrs := []netip.Addr{row.Frontends[0].Addr}
	for _, e := range endpoints {
		addrs = append(addrs, netip.MustParseAddrPort(e).Addr())
	}
	for _, addr := range addrs {
		errs = append(errs, netlink.AddrAdd(lo, &netlink.Addr{IPNet: netlink.NewIPNet(addr.AsSlice())}))
	}
	return errors.Join(errs...)
}

// serveName tells who connects to an address that address, until the test ends.
func serveName(t *testing.T, ns, addr string) {
	t.Helper()
	var listener net.Listener
	netnstest.In(t, ns, func() (err error) {
		listener, err = net.Listen("tcp", addr)
		return err
	})
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if errors.Is(err, unix.EINVAL) || errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				fmt.Fprint(conn, addr)
				conn.Close()
			}
		}
	}()
}
