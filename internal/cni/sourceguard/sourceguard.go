// SPDX-License-Identifier: Apache-2.0

// Package sourceguard keeps source addresses that are not a container's own from leaving its veth: what may come in by a
// host's end stands in nftables sets, for links that the host routes by (Routed) and for ports of bridges (Bridged). The
// tables are constant, but for elements, each with a comment that names its owner.
package sourceguard

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"eastwest/internal/cni/nftset"
	"eastwest/internal/cni/plugin"
)

// TableName is the name of all tables of this package, one a family of nftables.
const TableName = "eastwest_source"

// Sets of the tables.
const (
	setPorts = "ports"
	setV4    = "from4"
	setV6    = "from6"
)

// chainName is the one chain of every table.
const chainName = "prerouting"

const priorityRaw = -300 // before connection tracking learns of the packet

func setOf(family byte, name string) nftset.Set {
	return nftset.Set{Family: family, Table: TableName, Name: name}
}

// entry is an element of a set.
type entry struct {
	set nftset.Set
	nftset.Element
}

// add adds the entries, all or none; ensure makes the tables if one is missing.
func add(link string, entries []entry, ensure func() error) error {
	err := write(entries, false)
	if errors.Is(err, unix.ENOENT) {
		if err = nftset.Locked(ensure); err == nil {
			err = write(entries, false)
		}
	}
	if errors.Is(err, unix.EEXIST) {
		// The link's name is made from the container's, so what has it is left of the same one.
		err = nftset.AfterExpiry(func() error {
			return nftset.Locked(func() error { return write(entries, true) })
		})
	}
	if err != nil {
		return fmt.Errorf("guard source addresses of %s: %w", link, err)
	}
	return nil
}

func write(entries []entry, replace bool) error {
	var b nftset.Batch
	for _, e := range entries {
		if replace {
			_, found, err := nftset.Get(e.set, e.Key)
			if err != nil {
				return err
			}
			if found {
				b.Delete(e.set, e.Element)
			}
		}
		b.Add(e.set, e.Element)
	}
	return b.Commit()
}

// check fails when an entry is missing.
func check(link string, entries []entry) error {
	for _, e := range entries {
		have, found, err := nftset.Get(e.set, e.Key)
		if err != nil {
			return err
		}
		if !found || have.Comment != e.Comment {
			return fmt.Errorf("the nftables set %s of table %s does not hold what %s may send from", e.set.Name, TableName, link)
		}
	}
	return nil
}

// Remove removes what an owner's link may send.
func Remove(o plugin.Owner) error {
	text := o.String()
	return removeIf(func(comment string) bool { return comment == text })
}

// Sweep removes what links of owners that are not alive may send.
func Sweep(alive func(plugin.Owner) bool) error {
	return removeIf(func(comment string) bool {
		o, ok := plugin.ParseOwner(comment)
		return ok && !alive(o)
	})
}

func removeIf(unwanted func(comment string) bool) error {
	conn, err := nftset.Dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	var infos []nftset.Info
	var sets []nftset.Set
	for _, family := range []byte{unix.NFPROTO_BRIDGE, unix.NFPROTO_IPV4, unix.NFPROTO_IPV6} {
		some, err := conn.Infos(family, TableName)
		if err != nil {
			return err
		}
		for _, i := range some {
			sets = append(sets, setOf(family, i.Name))
		}
		infos = append(infos, some...)
	}
	if len(sets) == 0 {
		return nil
	}
	var gone []nftset.In
	err = nftset.Locked(func() error {
		for _, set := range sets {
			all, err := nftset.List(set)
			if err != nil {
				return err
			}
			for _, e := range all {
				if unwanted(e.Comment) {
					gone = append(gone, nftset.In{Set: set, Element: e})
				}
			}
		}
		return conn.Expire(infos, gone)
	})
	if err != nil {
		return err
	}
	return conn.Going(gone)
}

// linkKey is a link's name as the kernel compares it.
func linkKey(name string) []byte {
	key := make([]byte, unix.IFNAMSIZ)
	copy(key, name)
	return key
}
