// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"eastwest/internal/kernel/netns"
)

// TableName is the name of a cluster's nftables table on the host.
func TableName(cluster string) string { return "eastwest_" + cluster }

// strangersTable is the name of a node's own nftables table, beside those of its agent.
const strangersTable = "eastwest_node"

// EnsureMasquerade writes the cluster's table: packets from a node network, of which there is one a family, to anywhere
// else leave the host with the host's address. What goes from node to node passes here as well, where the host has bridges
// ask nftables (br_netfilter), and is left alone, pods' addresses among it. The table is replaced in one transaction.
func EnsureMasquerade(cluster string, networks ...netip.Prefix) error {
	var rules [][]expr.Any
	for _, network := range networks {
		rule := append(ofFamily(network), outBy(expr.CmpOpNeq, BridgeName(cluster))...)
		rule = append(rule, inNetwork(network, source, expr.CmpOpEq)...)
		rules = append(rules, append(rule, inNetwork(network, destination, expr.CmpOpNeq)...))
	}
	return replaceTable(TableName(cluster), rules)
}

// MasqueradeStrangers makes the node whose network namespace is at path give its own address to packets that it forwards
// to the node network from addresses outside the given networks: nobody else knows a way back to them.
func MasqueradeStrangers(path string, networks ...netip.Prefix) error {
	byFamily := map[bool][]netip.Prefix{}
	for _, network := range networks {
		if network.Addr().Is6() && byFamily[true] == nil {
			byFamily[true] = []netip.Prefix{netip.MustParsePrefix("fe80::/10")} // what the node says of itself
		}
		byFamily[network.Addr().Is6()] = append(byFamily[network.Addr().Is6()], network)
	}
	var rules [][]expr.Any
	for _, known := range byFamily {
		rule := append(ofFamily(known[0]), outBy(expr.CmpOpEq, NodeLink)...)
		for _, network := range known {
			rule = append(rule, inNetwork(network, source, expr.CmpOpNeq)...)
		}
		rules = append(rules, rule)
	}
	return netns.Do(path, func() error { return replaceTable(strangersTable, rules) })
}

// replaceTable writes a table with rules for packets that leave, which end in masquerading, in the calling thread's network
// namespace.
func replaceTable(name string, rules [][]expr.Any) error {
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	table := &nftables.Table{Family: nftables.TableFamilyINet, Name: name}
	// Adding before deleting makes the deletion of a table that may not exist succeed.
	conn.AddTable(table)
	conn.DelTable(table)
	conn.AddTable(table)
	chain := conn.AddChain(&nftables.Chain{
		Name: "postrouting", Table: table, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource,
	})
	for _, rule := range rules {
		conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: append(rule, &expr.Counter{}, &expr.Masq{})})
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("write nftables table %s: %w", table.Name, err)
	}
	return nil
}

// outBy compares the link by which a packet leaves.
func outBy(op expr.CmpOp, link string) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1},
		&expr.Cmp{Op: op, Register: 1, Data: interfaceName(link)},
	}
}

// interfaceName is a name as the kernel compares it: 16 bytes (IFNAMSIZ), filled with zeros.
func interfaceName(name string) []byte {
	field := make([]byte, unix.IFNAMSIZ)
	copy(field, name)
	return field
}

// Which address of a packet is compared.
const (
	source = iota
	destination
)

// offsets of both addresses in a header of IPv4 (RFC 791) or IPv6 (RFC 8200).
func offsets(ipv6 bool) [2]uint32 {
	if ipv6 {
		return [2]uint32{source: 8, destination: 24}
	}
	return [2]uint32{source: 12, destination: 16}
}

// ofFamily is "meta nfproto".
func ofFamily(network netip.Prefix) []expr.Any {
	family := byte(unix.NFPROTO_IPV4)
	if network.Addr().Is6() {
		family = unix.NFPROTO_IPV6
	}
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{family}},
	}
}

// inNetwork compares an address of the packet with a network.
func inNetwork(network netip.Prefix, which int, op expr.CmpOp) []expr.Any {
	bytes := uint32(network.Addr().BitLen() / 8)
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offsets(network.Addr().Is6())[which], Len: bytes},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: bytes, Mask: net.CIDRMask(network.Bits(), network.Addr().BitLen()), Xor: make([]byte, bytes)},
		&expr.Cmp{Op: op, Register: 1, Data: network.Masked().Addr().AsSlice()},
	}
}

// HasTable reports whether the host has the cluster's table.
func HasTable(cluster string) (bool, error) {
	conn, err := nftables.New()
	if err != nil {
		return false, fmt.Errorf("open nftables: %w", err)
	}
	tables, err := conn.ListTablesOfFamily(nftables.TableFamilyINet)
	if err != nil {
		return false, fmt.Errorf("list nftables tables: %w", err)
	}
	for _, table := range tables {
		if table.Name == TableName(cluster) {
			return true, nil
		}
	}
	return false, nil
}

// RemoveMasquerade deletes the cluster's table; one that is not there is no error.
func RemoveMasquerade(cluster string) error {
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	conn.DelTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: TableName(cluster)})
	if err := conn.Flush(); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("delete nftables table %s: %w", TableName(cluster), err)
	}
	return nil
}
