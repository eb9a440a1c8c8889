// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"eastwest/internal/kernel/nft"
	"eastwest/internal/table"
)

// Dump returns the elements that the kernel holds, one a line: set, frontend, data and comment. It does not tell which slot an
// endpoint is in, which depends on what was there before, but which slots are there when one in between is missing.
func (b *Backend) Dump(ctx context.Context) (string, error) {
	var lines []string
	for i, family := range families {
		_, err := b.config.Kernel.List(ctx, family, TableName)
		if errors.Is(err, nft.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", fmt.Errorf("dump services: %w", err)
		}
		have, err := b.read(ctx, i)
		if err != nil {
			return "", err
		}
		var elements []string
		for p, v := range have {
			elements = append(elements, describe(family, p, v))
		}
		elements = append(elements, gaps(family, have)...)
		slices.Sort(elements)
		lines = append(lines, elements...)
	}
	return strings.Join(lines, ""), nil
}

// gaps returns a line for each slot that comes after an empty one.
func gaps(family nft.Family, have map[place]value) (lines []string) {
	for p := range have {
		group, ok := strings.CutSuffix(p.set, endpointSuffix)
		if !ok {
			continue
		}
		frontend, slot := slotOf(p.key)
		if _, before := have[place{p.set, frontend + register(slot-1)}]; slot > 0 && !before {
			lines = append(lines, fmt.Sprintf("%s %s %s slot %d follows an empty one\n", family, p.set, frontendText(family, group, frontend), slot))
		}
	}
	return lines
}

// slotOf splits the key of an endpoint's element.
func slotOf(key string) (frontend string, slot uint32) {
	frontend, bytes := key[:len(key)-slotBytes], key[len(key)-slotBytes:]
	return frontend, binary.NativeEndian.Uint32([]byte(bytes))
}

// describe writes one element for people.
func describe(family nft.Family, p place, v value) string {
	switch p.set {
	case setAddress, setElsewhere, setHairpin:
		return fmt.Sprintf("%s %s %s %s\n", family, p.set, addrPort(family, p.key+"\x00\x00\x00\x00").Addr(), v.comment)
	case setAllowed:
		n := addrBytes(family) + 8
		from, to := addrPort(family, p.key[n:]+"\x00\x00\x00\x00"), addrPort(family, v.end[n:]+"\x00\x00\x00\x00")
		return fmt.Sprintf("%s %s %s from %s-%s %s\n", family, p.set, frontendText(family, "", p.key), from.Addr(), to.Addr(), v.comment)
	case setSocket, setRanged:
		return fmt.Sprintf("%s %s %s %s\n", family, p.set, frontendText(family, byAddress.String(), p.key), v.comment)
	}
	if group, ok := strings.CutSuffix(p.set, endpointSuffix); ok {
		frontend, _ := slotOf(p.key)
		return fmt.Sprintf("%s %s %s → %s %s\n", family, p.set, frontendText(family, group, frontend), addrPort(family, v.data), v.comment)
	}
	group := byAddress.String()
	if strings.HasPrefix(p.set, "node-port") {
		group = byNodePort.String()
	}
	number := binary.NativeEndian.Uint32([]byte(v.data))
	text := "of " + strconv.Itoa(draw(number&dropped).slots())
	if number&dropped == dropped {
		text = "drop"
	}
	if seconds := number >> drawBits; seconds > 0 {
		text += " sticky " + duration(seconds)
	}
	return fmt.Sprintf("%s %s %s = %s %s\n", family, p.set, frontendText(family, group, p.key), text, v.comment)
}

func frontendText(family nft.Family, group, key string) string {
	protocol := table.Protocol(key[addrLen(family, group)])
	return fmt.Sprintf("%s/%s", frontendOf(family, group, key), protocol)
}

// dataSets names the sets and maps whose elements come from services.
func dataSets() []string {
	names := []string{setAddress, setElsewhere, setHairpin, setSocket, setRanged, setAllowed}
	for _, m := range frontendMaps {
		names = append(names, m.name)
	}
	for g := range groups {
		names = append(names, endpointMap(g))
	}
	return names
}
