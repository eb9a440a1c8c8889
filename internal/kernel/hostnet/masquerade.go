// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"eastwest/internal/kernel/netns"
)

// TableName is the name of a cluster's nftables table on the host.
func TableName(cluster string) string { return "eastwest_" + cluster }

// strangersTable is the name of a node's own nftables table, beside those of its agent.
const strangersTable = "eastwest_node"

// EnsureMasquerade writes the cluster's table: packets from the node network to anywhere else leave the host with the
// host's address. The table is replaced in one transaction.
func EnsureMasquerade(cluster string, network netip.Prefix) error {
	rule := inNetwork(sourceOffset, network, expr.CmpOpEq)
	rule = append(rule, inNetwork(destinationOffset, network, expr.CmpOpNeq)...)
	return replaceTable(TableName(cluster), append(rule, &expr.Counter{}, &expr.Masq{}))
}

// MasqueradeStrangers makes the node whose network namespace is at path give its own address to packets that it forwards
// to the node network from addresses outside the given networks: nobody else knows a way back to them.
func MasqueradeStrangers(path string, networks ...netip.Prefix) error {
	rule := []expr.Any{
		&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: interfaceName(NodeLink)},
	}
	for _, network := range networks {
		rule = append(rule, inNetwork(sourceOffset, network, expr.CmpOpNeq)...)
	}
	return netns.Do(path, func() error {
		return replaceTable(strangersTable, append(rule, &expr.Counter{}, &expr.Masq{}))
	})
}

// replaceTable writes a table with one rule for packets that leave, in the calling thread's network namespace.
func replaceTable(name string, rule []expr.Any) error {
	conn, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	table := &nftables.Table{Family: nftables.TableFamilyIPv4, Name: name}
	// Adding before deleting makes the deletion of a table that may not exist succeed.
	conn.AddTable(table)
	conn.DelTable(table)
	conn.AddTable(table)
	chain := conn.AddChain(&nftables.Chain{
		Name: "postrouting", Table: table, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource,
	})
	conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: rule})
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("write nftables table %s: %w", table.Name, err)
	}
	return nil
}

// interfaceName is a name as the kernel compares it: 16 bytes (IFNAMSIZ), filled with zeros.
func interfaceName(name string) []byte {
	field := make([]byte, unix.IFNAMSIZ)
	copy(field, name)
	return field
}

// Offsets of the addresses in an IPv4 header (RFC 791).
const (
	sourceOffset      = 12
	destinationOffset = 16
)

// inNetwork compares an address of the packet with a network.
func inNetwork(offset uint32, network netip.Prefix, op expr.CmpOp) []expr.Any {
	address := network.Masked().Addr().As4()
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: net.CIDRMask(network.Bits(), 32), Xor: binaryutil.NativeEndian.PutUint32(0)},
		&expr.Cmp{Op: op, Register: 1, Data: address[:]},
	}
}

// HasTable reports whether the host has the cluster's table.
func HasTable(cluster string) (bool, error) {
	conn, err := nftables.New()
	if err != nil {
		return false, fmt.Errorf("open nftables: %w", err)
	}
	tables, err := conn.ListTablesOfFamily(nftables.TableFamilyIPv4)
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
	conn.DelTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: TableName(cluster)})
	if err := conn.Flush(); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("delete nftables table %s: %w", TableName(cluster), err)
	}
	return nil
}
