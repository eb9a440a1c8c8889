// SPDX-License-Identifier: Apache-2.0

// Package masquerade hides containers behind the host's address when they talk to what is not in their subnet (the key
// ipMasq of ptp and bridge).
//
// For each subnet there is one set of container addresses and one rule, which never changes:
//
//	ip saddr @from_10.244.1.0-24 ip daddr != 10.244.1.0/24 masquerade
//
// Containers come and go as elements of the set, each with a comment that names its owner. The backend iptables makes
// chains instead (see chains.go).
package masquerade

import (
	"context"
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"

	"eastwest/internal/cni/nftset"
	"eastwest/internal/cni/plugin"
)

// The values of ipMasqBackend; none means nftables.
const (
	backendNFTables = "nftables"
	backendIPTables = "iptables"
)

// CheckBackend refuses values of ipMasqBackend that are not known.
func CheckBackend(backend string) error {
	switch backend {
	case "", backendNFTables, backendIPTables:
		return nil
	default:
		return plugin.ConfigError("unknown ipmasq backend %q", backend)
	}
}

// Add masquerades what an owner's addresses send out of their subnets.
func Add(ctx context.Context, backend string, o plugin.Owner, addrs []net.IPNet) error {
	if backend == backendIPTables {
		return addChains(ctx, o, addrs)
	}
	for _, a := range addrs {
		if err := addOne(o, subnetOf(a), a.IP); err != nil {
			return fmt.Errorf("masquerade %s: %w", a.IP, err)
		}
	}
	return nil
}

func addOne(o plugin.Owner, s subnet, ip net.IP) error {
	element := nftset.Element{Key: s.key(ip), Comment: o.String()}
	add := func() error {
		var b nftset.Batch
		b.Add(s.set(), element)
		return b.Commit()
	}
	err := add()
	if errors.Is(err, unix.ENOENT) {
		if err = nftset.Locked(func() error { return ensure(s) }); err == nil {
			err = add()
		}
	}
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	// IPAM gave the address to this owner, so whoever else has it is gone.
	return nftset.Locked(func() error {
		var b nftset.Batch
		if _, found, err := nftset.Get(s.set(), element.Key); err != nil || found {
			if err != nil {
				return err
			}
			b.Delete(s.set(), element)
		}
		b.Add(s.set(), element)
		return b.Commit()
	})
}

// Delete removes what Add put there. The addresses need not be known. What the nftables backend does not have may have
// been made by the other one, under an earlier configuration or by the reference plugins.
func Delete(ctx context.Context, backend string, o plugin.Owner) error {
	text := o.String()
	found, err := removeIf(func(comment string) bool { return comment == text })
	if found && backend != backendIPTables {
		return err
	}
	return errors.Join(err, deleteReference(o), deleteChains(ctx, o))
}

// Sweep removes the masquerading of owners that are not alive. The interface of those in iptables is not known, and empty.
func Sweep(ctx context.Context, alive func(plugin.Owner) bool) error {
	_, err := removeIf(func(comment string) bool {
		o, ok := plugin.ParseOwner(comment)
		return ok && !alive(o)
	})
	return errors.Join(err, sweepReference(alive), sweepChains(ctx, alive))
}

// removeIf reports whether it removed any.
func removeIf(unwanted func(comment string) bool) (bool, error) {
	names, err := setNames()
	if err != nil || len(names) == 0 {
		return false, err
	}
	found := false
	err = nftset.Locked(func() error {
		var b nftset.Batch
		for _, name := range names {
			all, err := nftset.List(setOf(name))
			if err != nil {
				return err
			}
			for _, e := range all {
				if unwanted(e.Comment) {
					found = true
					b.Delete(setOf(name), e)
				}
			}
		}
		return b.Commit()
	})
	return found, err
}
