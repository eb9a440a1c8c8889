// SPDX-License-Identifier: Apache-2.0

package nftset_test

import (
	"testing"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"eastwest/internal/cni/nftset"
	"eastwest/internal/kernel/netns/netnstest"
)

// Elements are gone after Expired, whether their sets can have them expire or not, and others stay.
func TestExpire(t *testing.T) {
	for name, timeout := range map[string]bool{"set of elements that expire": true, "set of elements that stay": false} {
		t.Run(name, func(t *testing.T) {
			netnstest.In(t, netnstest.New(t), func() error {
				set := makeMap(t, timeout)
				port := func(p byte) nftset.Element {
					return nftset.Element{Key: []byte{0, p}, Value: []byte{10, 0, 0, p}, Comment: "net/c/eth0"}
				}
				var b nftset.Batch
				b.Add(set, port(1), port(2), port(3))
				if err := b.Commit(); err != nil {
					return err
				}
				conn, err := nftset.Dial()
				if err != nil {
					return err
				}
				defer conn.Close()
				sets, err := conn.Infos(unix.NFPROTO_INET, set.Table)
				if err != nil || len(sets) != 1 || sets[0].Expires != timeout {
					t.Errorf("sets: %v, %v", sets, err)
				}
				gone := []nftset.In{{Set: set, Element: port(1)}, {Set: set, Element: port(3)}}
				if err := conn.Expire(sets, gone); err != nil {
					return err
				}
				if err := conn.Expired(gone); err != nil {
					return err
				}
				left, err := nftset.List(set)
				if len(left) != 1 || left[0].Key[1] != 2 {
					t.Errorf("left: %v", left)
				}
				var again nftset.Batch
				again.Add(set, port(1), port(3)) // the keys are free
				if err := again.Commit(); err != nil {
					t.Errorf("add again: %v", err)
				}
				return err
			})
		})
	}
}

func makeMap(t *testing.T, timeout bool) nftset.Set {
	t.Helper()
	c, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	table := c.AddTable(&nftables.Table{Name: "test", Family: nftables.TableFamilyINet})
	m := &nftables.Set{Table: table, Name: "m", KeyType: nftables.TypeInetService, DataType: nftables.TypeIPAddr, IsMap: true, HasTimeout: timeout}
	if err := c.AddSet(m, nil); err != nil {
		t.Fatal(err)
	}
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	return nftset.Set{Family: unix.NFPROTO_INET, Table: "test", Name: "m"}
}
