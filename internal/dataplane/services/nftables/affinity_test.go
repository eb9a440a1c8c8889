// SPDX-License-Identifier: Apache-2.0

package nftables_test

import (
	"fmt"
	"net"
	"net/netip"
	"testing"

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
	netnstest.Own(t, ns, row.Frontends[0].Addr)
	for _, addr := range endpoints {
		netnstest.Own(t, ns, netip.MustParseAddrPort(addr).Addr())
		netnstest.Serve(t, ns, addr, func(conn net.Conn) { fmt.Fprint(conn, addr) })
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
