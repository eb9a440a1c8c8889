// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"eastwest/internal/dataplane/nftrules"
	"eastwest/internal/kernel/nft"
)

// A client that a Service remembers has an element frontend . client → slot, with the Service's timeout. Slots move when
// endpoints come and go, so that the elements of such a Service are moved along with them.
//
// In IPv6 the element is frontend . client . slot in a set, and slots are tried in turn: nft up to 1.0.6 at least cannot
// write a rule that updates a map whose key is longer than 16 bytes.

// maxClients bounds what clients can make the kernel remember, for each group and family.
const maxClients = 1 << 18

// affinity writes the map behind session affinity.
func (p program) affinity(w *nftrules.Writer, g group) {
	_, kind := p.key(g)
	_, addr := nftrules.Family(p.family)
	what, joint := "map", ":"
	if p.family == nft.IPv6 {
		what, joint = "set", "."
	}
	w.Open("%s %s", what, affinityMap(g))
	w.Line("type %s . %s %s classid", kind, addr, joint)
	w.Line("size %d", maxClients)
	w.Line("flags dynamic,timeout")
	w.Line("comment \"frontend . client %s slot\"", joint)
	w.Close()
}

// sticky writes the chains that draw a slot for a client once and then recall it. One that is empty by now is drawn anew.
func (p program) sticky(w *nftrules.Writer) {
	match, _ := nftrules.Family(p.family)
	for g := range groups {
		key, _ := p.key(g)
		client := fmt.Sprintf("%s . %s saddr", key, match)
		for _, seconds := range p.shape.timeouts[g] {
			refresh := fmt.Sprintf("update @%s { %s timeout %s : meta priority }", affinityMap(g), client, duration(seconds))
			recall := fmt.Sprintf("meta priority set %s map @%s %s %s", client, affinityMap(g), refresh, p.translate(g))
			// An update of an element that is there leaves its slot, which may be an empty one.
			update := fmt.Sprintf("delete @%s { %s : meta priority } %s", affinityMap(g), client, refresh)
			if p.family == nft.IPv6 {
				update = fmt.Sprintf("update @%s { %s . meta priority timeout %s }", affinityMap(g), client, duration(seconds))
				recall = p.recall(w, g, seconds, client, update)
			}
			for d := range p.shape.draws(g) {
				w.Open("chain %s", stickyChain(g, d.slots(), seconds))
				w.Line("%s", recall)
				for _, slot := range d.tries() {
					w.Line("meta priority set %s %s %s", slot, update, p.translate(g))
				}
				for _, slot := range d.tries() { // when no more clients can be remembered, a rule ends at its update
					w.Line("meta priority set %s %s", slot, p.translate(g))
				}
				nowhere(w)
				w.Close()
			}
		}
	}
}

// recall writes the chain that tries the slots in turn, and returns the rule that leads to it.
func (p program) recall(w *nftrules.Writer, g group, seconds uint32, client, update string) string {
	name := fmt.Sprintf("%s-recall-%d", g, seconds)
	w.Open("chain %s", name)
	for slot := range p.shape.slots[g] {
		w.Line("meta priority set %s", classID(uint32(slot)))
		w.Line("%s . meta priority @%s %s %s", client, affinityMap(g), update, p.translate(g))
	}
	w.Close()
	return "jump " + name
}

// duration writes seconds as nft does.
func duration(seconds uint32) string {
	var out strings.Builder
	for _, unit := range []struct {
		seconds uint32
		letter  string
	}{{86400, "d"}, {3600, "h"}, {60, "m"}, {1, "s"}} {
		if n := seconds / unit.seconds; n > 0 {
			out.WriteString(strconv.Itoa(int(n)) + unit.letter)
			seconds %= unit.seconds
		}
	}
	return out.String()
}

// classID writes a number as nft writes a priority.
func classID(n uint32) string {
	if n == 0 {
		return "none"
	}
	return fmt.Sprintf("%x:%x", n>>16, n&0xffff)
}

// moves says where the slots of one frontend went; a slot that is not in it is gone.
type moves map[uint32]uint32

// remember returns the operations that move clients along with their endpoints, and forget those of endpoints that are
// gone. It reads the kernel only when the endpoints of a frontend with affinity changed.
func (b *Backend) remember(ctx context.Context, family nft.Family, have, want map[place]value) ([]nft.Op, error) {
	var ops []nft.Op
	for g := range groups {
		moved := movedSlots(g, have, want)
		if len(moved) == 0 {
			continue
		}
		elements, err := b.config.Kernel.Elements(ctx, family, TableName, affinityMap(g))
		if errors.Is(err, nft.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read clients of services: %w", err)
		}
		op := nft.Op{Family: family, Table: TableName, Set: affinityMap(g)}
		var gone []nft.Element
		for _, e := range elements {
			frontend, old := recalled(family, e)
			slots, ok := moved[frontend]
			if !ok {
				continue
			}
			now, ok := slots[old]
			if ok && now == old {
				continue
			}
			if !ok {
				gone = append(gone, nft.Element{Key: e.Key})
				continue
			}
			op.Delete, op.Add = append(op.Delete, nft.Element{Key: e.Key}), append(op.Add, moveTo(family, e, now))
		}
		op.Delete = append(op.Delete, gone...)
		ops = append(ops, op)
	}
	return ops, nil
}

const slotBytes = 4

// recalled reads the frontend and slot of a client's element.
func recalled(family nft.Family, e nft.Element) (frontend string, slot uint32) {
	key, data := e.Key, e.Data
	if family == nft.IPv6 {
		key, data = key[:len(key)-slotBytes], key[len(key)-slotBytes:]
	}
	return key[:len(key)-addrBytes(family)], binary.NativeEndian.Uint32([]byte(data))
}

// moveTo returns a client's element with another slot.
func moveTo(family nft.Family, e nft.Element, slot uint32) nft.Element {
	data := register(slot)
	if family == nft.IPv6 {
		e.Key = e.Key[:len(e.Key)-slotBytes] + data
		return e
	}
	e.Data = data
	return e
}

// movedSlots finds the frontends of a group that had affinity and whose slots changed.
func movedSlots(g group, have, want map[place]value) map[string]moves {
	moved := map[string]moves{}
	for p, v := range have {
		if m := frontendMapOf(p.set); m == nil || m.group != g || !isSticky(v.data) {
			continue
		}
		now, slot := map[string]uint32{}, uint32(0)
		for e := range slotsOf(want, g, p.key) {
			now[e] = slot
			slot++
		}
		slots, changed := moves{}, false
		slot = 0
		for e := range slotsOf(have, g, p.key) {
			at, still := now[e]
			changed = changed || !still || at != slot
			if still {
				slots[slot] = at
			}
			slot++
		}
		if changed {
			moved[p.key] = slots
		}
	}
	return moved
}

func isSticky(data string) bool { return binary.NativeEndian.Uint32([]byte(data))>>drawBits > 0 }

func frontendMapOf(set string) *frontendMap {
	for i := range frontendMaps {
		if frontendMaps[i].name == set {
			return &frontendMaps[i]
		}
	}
	return nil
}

func addrBytes(family nft.Family) int {
	if family == nft.IPv6 {
		return 16
	}
	return 4
}
