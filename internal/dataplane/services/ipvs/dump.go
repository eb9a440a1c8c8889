// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"eastwest/internal/kernel/ipvs"
	"eastwest/internal/table"
)

// Dump returns the virtual servers with their destinations, the elements of the rules' sets and the addresses, one a line.
// Destinations that are there only until their connections end are left out.
func (b *Backend) Dump(ctx context.Context) (string, error) {
	addresses, have, err := b.look(ctx)
	if err == nil && have.listings == ([3]string{}) && addresses.Shared {
		return "", nil
	}
	if err == nil {
		err = b.servers(ctx, addresses, have, newImage())
	}
	if errors.Is(err, ipvs.ErrMissing) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("dump services: %w", err)
	}
	names := aliasNames(have)
	var lines []string
	busy := map[netip.Addr]bool{}
	for family, elements := range have.elements {
		for at, v := range elements {
			switch at.set {
			case setVirtual, setAddress:
				continue
			}
			lines = append(lines, describe(family, at, v, names))
			if key, ok := frontendOf(family, at.key); ok {
				busy[key.Addr] = true
			}
		}
	}
	leaving := map[netip.Addr]bool{}
	for key, s := range have.servers {
		text := serverLines(key, s, names, isForwarded(have, key))
		lines = append(lines, text...)
		if len(text) == 0 {
			leaving[key.Addr] = true
		}
	}
	for _, addr := range addressesOf(have) {
		if busy[addr] || !leaving[addr] {
			lines = append(lines, fmt.Sprintf("address %s\n", addr))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, ""), nil
}

// isForwarded reports whether new connections get to a virtual server.
func isForwarded(have image, key ipvs.Key) bool {
	return slices.ContainsFunc([]string{setForward, setMasquerade, setMasqOutside}, func(set string) bool {
		_, ok := have.elements[indexOf(key.Addr)][place{set, frontendKey(key)}]
		return ok
	})
}

func serverLines(key ipvs.Key, s server, names map[ipvs.Key]string, forwarded bool) []string {
	if !forwarded {
		return nil
	}
	head := fmt.Sprintf("server %s %s", nameOf(key, names), s.scheduler)
	if s.persistence > 0 {
		head += fmt.Sprintf(" sticky %ds", s.persistence)
	}
	lines := []string{head + "\n"}
	for addr, weight := range s.weights {
		if weight > 0 || key.Protocol == uint8(table.UDP) {
			lines = append(lines, fmt.Sprintf("%s → %s weight %d\n", head, addr, weight))
		}
	}
	return lines
}

// aliasNames calls aliases by the frontends that they are of, whatever their ports are.
func aliasNames(have image) map[ipvs.Key]string {
	names := map[ipvs.Key]string{}
	for family := range aliases {
		for at, v := range have.elements[family] {
			key, ok := frontendOf(family, at.key)
			if !ok || at.set != mapOutside && at.set != mapSocket {
				continue
			}
			alias := ipvs.Key{Addr: aliases[family], Protocol: key.Protocol, Port: portOf(v)}
			if name := at.set + " of " + key.String(); names[alias] == "" || name < names[alias] {
				names[alias] = name
			}
		}
	}
	return names
}

func nameOf(key ipvs.Key, names map[ipvs.Key]string) string {
	if name, ok := names[key]; ok {
		return name
	}
	return key.String()
}

// describe writes one element for people.
func describe(family int, at place, v value, names map[ipvs.Key]string) string {
	head := fmt.Sprintf("%s %s", families[family], at.set)
	key, isFrontend := frontendOf(family, at.key)
	switch at.set {
	case setHairpin:
		addr, _ := netip.AddrFromSlice([]byte(at.key[:addrBytes(family)]))
		return fmt.Sprintf("%s %s\n", head, addr)
	case setLoopback:
		return fmt.Sprintf("%s %d/%d\n", head, uint16(at.key[4])<<8|uint16(at.key[5]), at.key[0])
	case setAllowed:
		from, _ := netip.AddrFromSlice([]byte(at.key[addrBytes(family)+8:]))
		to, _ := netip.AddrFromSlice([]byte(v.end[addrBytes(family)+8:]))
		return fmt.Sprintf("%s %s from %s-%s %s\n", head, key, from, to, v.comment)
	}
	if !isFrontend {
		return fmt.Sprintf("%s %x\n", head, at.key)
	}
	return fmt.Sprintf("%s %s %s\n", head, nameOf(key, names), v.comment)
}
