// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"errors"

	"golang.org/x/sys/unix"

	"eastwest/internal/kernel/nfnetlink"
)

// Has asks the kernel whether there is a table.
func (c *Conn) Has(family Family, table string) (there bool, err error) {
	numbers := map[Family]uint8{IPv4: unix.NFPROTO_IPV4, IPv6: unix.NFPROTO_IPV6, ARP: unix.NFPROTO_ARP}
	request := nfnetlink.Request{
		Subsystem: unix.NFNL_SUBSYS_NFTABLES, Operation: unix.NFT_MSG_GETTABLE,
		Family: numbers[family], Attributes: nfnetlink.Named(nil, unix.NFTA_TABLE_NAME, table),
	}
	there = true
	err = c.do(func() error {
		k, err := nfnetlink.Dial()
		if err != nil {
			return err
		}
		defer k.Close()
		return k.Each([]nfnetlink.Request{request}, func(err error) error {
			if there = false; errors.Is(err, unix.ENOENT) {
				return nil
			}
			return err
		})
	})
	return there, err
}
