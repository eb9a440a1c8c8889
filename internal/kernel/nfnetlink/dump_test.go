// SPDX-License-Identifier: Apache-2.0

package nfnetlink_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"eastwest/internal/kernel/netns/netnstest"
	"eastwest/internal/kernel/nfnetlink"
	"eastwest/internal/kernel/nft"
)

func tables(operation uint8, name string) nfnetlink.Request {
	return nfnetlink.Request{Subsystem: unix.NFNL_SUBSYS_NFTABLES, Operation: operation, Family: unix.NFPROTO_IPV4,
		Attributes: nfnetlink.Named(nil, unix.NFTA_TABLE_NAME, name)}
}

// Of more requests than are sent together each error is told once, and a socket serves again afterwards, also when whoever reads a
// list wants no more of it.
func TestEachAndDump(t *testing.T) {
	ns := netnstest.New(t)
	if err := nft.New(ns).Run(t.Context(), "add table ip a\nadd table ip b\n"); err != nil {
		t.Fatal(err)
	}
	netnstest.In(t, ns, func() error {
		conn, err := nfnetlink.Dial()
		if err != nil {
			return err
		}
		defer conn.Close()
		for _, count := range []int{0, 1, 256, 257, 1000} {
			requests := make([]nfnetlink.Request, count)
			for i := range requests {
				requests[i] = tables(unix.NFT_MSG_GETTABLE, fmt.Sprint("none", i))
			}
			missing := 0
			err := conn.Each(requests, func(err error) error {
				if errors.Is(err, unix.ENOENT) {
					missing++
					return nil
				}
				return err
			})
			if err != nil || missing != count {
				t.Errorf("%d of %d requests failed: %v", missing, count, err)
			}
			enough := errors.New("enough")
			for want, wanted := range map[error]int{nil: 2, enough: 1} {
				rows := 0
				list := nfnetlink.Request{Subsystem: unix.NFNL_SUBSYS_NFTABLES, Operation: unix.NFT_MSG_GETTABLE, Family: unix.NFPROTO_IPV4}
				if err := conn.Dump(list, func([]byte) error { rows++; return want }); !errors.Is(err, want) || rows != wanted {
					t.Errorf("%d tables until %v: %v", rows, want, err)
				}
			}
		}
		return nil
	})
}

func TestAttributes(t *testing.T) {
	data := nfnetlink.Named(nfnetlink.Named(nil, 1, "abc"), 2|unix.NLA_F_NESTED, "abcd")
	var have []string
	for a := range nfnetlink.Attributes(append(data, 200, 0, 1, 0)) { // what is cut off ends them
		have = append(have, fmt.Sprintf("%d %q %d", a.Kind, a.Value, len(a.Whole)))
	}
	if want := `[1 "abc\x00" 8 2 "abcd\x00" 12]`; fmt.Sprint(have) != want {
		t.Errorf("%s, want %s", have, want)
	}
}

func FuzzAttributes(f *testing.F) {
	f.Add(nfnetlink.Named(nil, 1, "abc"))
	f.Add(binary.NativeEndian.AppendUint32(nil, 3))
	f.Fuzz(func(_ *testing.T, data []byte) {
		for a := range nfnetlink.Attributes(data) {
			_ = a.Whole[:len(a.Value)]
		}
	})
}
