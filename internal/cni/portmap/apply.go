// SPDX-License-Identifier: Apache-2.0

package portmap

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"eastwest/internal/cni/nftset"
	"eastwest/internal/cni/plugin"
)

// apply adds entries in one transaction. Usually nothing is in the way and nothing needs to be read or locked first.
func apply(ctx context.Context, t table, all []entry, bridged []netip.Prefix, owner string) error {
	err := add(all)
	if errors.Is(err, unix.ENOENT) {
		err = nftset.Locked(func() error {
			if err := t.ensure(ctx); err != nil {
				return err
			}
			return t.ensureNear(bridged)
		})
		if err == nil {
			err = add(all)
		}
	}
	if errors.Is(err, unix.EEXIST) || errors.Is(err, unix.EBUSY) {
		err = nftset.AfterExpiry(func() error {
			return nftset.Locked(func() error { return replace(all, owner) })
		})
	}
	return err
}

func add(all []entry) error {
	var b nftset.Batch
	for _, e := range all {
		b.Add(e.set, e.element)
	}
	return b.Commit()
}

// replace adds entries of which some exist: those of the same container are left from an ADD that was killed.
func replace(all []entry, owner string) error {
	var b nftset.Batch
	for _, e := range all {
		have, found, err := nftset.Get(e.set, e.element.Key)
		if err != nil {
			return err
		}
		if found && e.exclusive && have.Comment != owner {
			return fmt.Errorf("%s is taken: it belongs to %s", e.port, plugin.DescribeOwner(have.Comment))
		}
		if found {
			b.Delete(e.set, e.element)
		}
		b.Add(e.set, e.element)
	}
	return b.Commit()
}

// check compares the table with what apply put there.
func check(all []entry, owner string) error {
	for _, e := range all {
		have, found, err := nftset.Get(e.set, e.element.Key)
		if err != nil {
			return err
		}
		if !found || have.Comment != owner || !bytes.Equal(have.Value, e.element.Value) {
			what := e.set.Name
			if e.exclusive {
				what = e.port.String()
			}
			return fmt.Errorf("%s is not mapped to this container in nftables table %s", what, e.set.Table)
		}
	}
	return nil
}

// remove deletes what an owner has for the given mappings. The container's addresses need not be known: they stand in
// the maps. It reports whether there was anything.
func remove(c *config, owner string) (bool, error) {
	conn, err := nftset.Dial()
	if err != nil {
		return false, err
	}
	defer conn.Close()
	sets, err := conn.Infos(unix.NFPROTO_INET, c.table().name)
	if err != nil || len(sets) == 0 {
		return false, err
	}
	var all []nftset.In
	err = nftset.Locked(func() error {
		if all, err = collect(conn, c, sets, owner); err != nil {
			return err
		}
		return conn.Expire(sets, all)
	})
	if err != nil {
		return len(all) > 0, err
	}
	if c.datagrams() {
		// One more would keep its connection tracking entry, and with it the others of its flow, on their way here.
		return len(all) > 0, conn.Expired(all)
	}
	return len(all) > 0, conn.Going(all)
}

// collect returns what an owner has for the given mappings: its host ports, and what their containers have beside them.
func collect(conn *nftset.Conn, c *config, sets []nftset.Info, owner string) ([]nftset.In, error) {
	var keys []entry
	for _, family := range []netip.Addr{netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		for _, m := range c.of(family) {
			set, key := c.table().hostKey(m, family.Is4())
			keys = append(keys, entry{set: set, element: nftset.Element{Key: key}})
		}
	}
	ports, err := owned(conn, keys, owner)
	if err != nil {
		return nil, err
	}
	var beside []entry
	for _, p := range ports {
		container := containerOf(p.Element.Value)
		beside = append(beside, masqueraded(c.everything(), container, owner)...)
		for _, name := range near(sets, container.Is4()) {
			beside = append(beside, entry{set: c.table().set(name), element: nftset.Element{Key: container.AsSlice()}})
		}
	}
	others, err := owned(conn, beside, owner)
	return append(ports, others...), err
}

// owned returns those of the entries that are there and an owner's.
func owned(conn *nftset.Conn, all []entry, owner string) ([]nftset.In, error) {
	var list []nftset.In
	for _, e := range distinct(all) {
		list = append(list, nftset.In{Set: e.set, Element: e.element})
	}
	have, err := conn.Find(list)
	return slices.DeleteFunc(have, func(i nftset.In) bool { return i.Element.Comment != owner }), err
}

// containerOf reads the address in front of the port in a map's value.
func containerOf(value []byte) netip.Addr {
	a, _ := netip.AddrFromSlice(value[:max(0, len(value)-4)])
	return a
}

// Sweep removes the mappings of owners that are not alive. The interface of those in iptables is not known, and empty.
func Sweep(ctx context.Context, alive func(plugin.Owner) bool) error {
	return errors.Join(sweepTables(alive), sweepChains(ctx, alive))
}

func sweepTables(alive func(plugin.Owner) bool) error {
	names, err := tables()
	for _, t := range names {
		err = errors.Join(err, t.sweep(alive))
	}
	return err
}

func (t table) sweep(alive func(plugin.Owner) bool) error {
	return nftset.Locked(func() error {
		var b nftset.Batch
		names, err := t.setNames()
		if err != nil {
			return err
		}
		for _, name := range names {
			all, err := nftset.List(t.set(name))
			if err != nil {
				return err
			}
			for _, e := range all {
				if o, ok := plugin.ParseOwner(e.Comment); ok && !alive(o) {
					b.Delete(t.set(name), e)
				}
			}
		}
		return b.Commit()
	})
}
