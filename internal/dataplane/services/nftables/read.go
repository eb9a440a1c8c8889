// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"strings"

	"eastwest/internal/kernel/nft"
)

// read returns the elements that the kernel has in one family.
func (b *Backend) read(ctx context.Context, i int) (map[place]value, error) {
	return b.readSets(ctx, i, func(string) bool { return true })
}

// glance returns the elements that the kernel has in one family, but of endpoints only those that its frontends lead to: they are
// asked for one by one, which takes a tenth of the time where there are 100,000. Others, which an interrupted change may have
// left, mean nothing to packets, and are found when all is read.
func (b *Backend) glance(ctx context.Context, i int) (map[place]value, error) {
	have, err := b.readSets(ctx, i, func(set string) bool { return !strings.HasSuffix(set, endpointSuffix) })
	if err != nil {
		return nil, err
	}
	var keys [groups][]string
	for p, v := range have {
		m := frontendMapOf(p.set)
		if m == nil {
			continue
		}
		number := binary.NativeEndian.Uint32([]byte(v.data)) & dropped
		if number == dropped {
			continue
		}
		for slot := range draw(number).slots() {
			keys[m.group] = append(keys[m.group], slotPlace(m.group, p.key, uint32(slot)).key)
		}
	}
	count := len(have)
	for g := range groups {
		count += len(keys[g])
	}
	whole := make(map[place]value, count) // grows once
	maps.Copy(whole, have)
	for g := range groups {
		if len(keys[g]) == 0 {
			continue
		}
		elements, err := b.config.Kernel.Lookup(ctx, families[i], TableName, endpointMap(g), keys[g])
		if err != nil {
			return nil, fmt.Errorf("read services: %w", err)
		}
		maps.Insert(whole, places(endpointMap(g), elements))
	}
	return whole, nil
}

func (b *Backend) readSets(ctx context.Context, i int, wanted func(set string) bool) (map[place]value, error) {
	have := map[place]value{}
	for _, set := range dataSets() {
		if !wanted(set) {
			continue
		}
		elements, err := b.config.Kernel.Elements(ctx, families[i], TableName, set)
		if err != nil {
			return nil, fmt.Errorf("read services: %w", err)
		}
		maps.Insert(have, places(set, elements))
	}
	return have, nil
}

func places(set string, elements []nft.Element) func(yield func(place, value) bool) {
	return func(yield func(place, value) bool) {
		for _, e := range elements {
			if !yield(place{set, e.Key}, value{e.Data, e.Comment, e.KeyEnd}) {
				return
			}
		}
	}
}
