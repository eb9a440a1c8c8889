// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/google/nftables"
)

// Element is one entry of a set or a map. Key and Data are the bytes that the kernel compares, every part of a
// concatenation padded to four.
type Element struct {
	Key     string
	Data    string // empty in a set
	Comment string // at most MaxComment bytes
	KeyEnd  string // last key of a range, in a set of ranges of concatenations; else empty
	// Timeout is after what time the element goes: when read, what is left of it. 0 is never.
	Timeout time.Duration
}

// MaxComment is how long an element's comment may be.
const MaxComment = 127

// Op deletes and then adds elements of one set or map. An element that gets other data stands in both lists, at the
// same index: then no packet ever finds it missing.
type Op struct {
	Family Family
	Table  string
	Set    string
	Delete []Element
	Add    []Element
}

func (o Op) size() int { return len(o.Delete) + len(o.Add) }

const (
	messageElements = 250  // keeps a message's element list below the 64 KB of a netlink attribute
	batchElements   = 2000 // keeps a transaction within a socket's buffer, and the kernel's lock short
	bufferBytes     = 4 << 20
)

// Change executes the operations in order. Up to batchElements elements are one transaction; of more, earlier
// transactions stay when a later one fails.
func (c *Conn) Change(ctx context.Context, ops []Op) error {
	return c.borrow(func(conn *nftables.Conn) error {
		pending := 0
		for _, op := range ops {
			for _, part := range split(op) {
				if pending > 0 && pending+part.size() > batchElements {
					if err := flush(ctx, conn); err != nil {
						return err
					}
					pending = 0
				}
				if err := queue(conn, part); err != nil {
					return err
				}
				pending += part.size()
			}
		}
		return flush(ctx, conn)
	})
}

// Elements reads a set or map.
func (c *Conn) Elements(_ context.Context, family Family, table, set string) ([]Element, error) {
	var out []Element
	err := c.borrow(func(conn *nftables.Conn) error {
		list, err := conn.GetSetElements(handle(family, table, set))
		for _, e := range list {
			out = append(out, Element{
				Key: string(e.Key), Data: string(e.Val), Comment: e.Comment, KeyEnd: string(e.KeyEnd), Timeout: e.Expires,
			})
		}
		return err
	})
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("read set %s %s %s: %w", family, table, set, ErrNotExist)
	}
	if err != nil {
		return nil, fmt.Errorf("read set %s %s %s: %w", family, table, set, err)
	}
	return out, nil
}

// split cuts an operation into parts of at most messageElements a list, by index.
func split(op Op) []Op {
	var parts []Op
	for from := 0; from < max(len(op.Delete), len(op.Add)); from += messageElements {
		part := op
		part.Delete, part.Add = window(op.Delete, from), window(op.Add, from)
		parts = append(parts, part)
	}
	return parts
}

func window(list []Element, from int) []Element {
	return list[min(from, len(list)):min(from+messageElements, len(list))]
}

func queue(conn *nftables.Conn, op Op) error {
	set := handle(op.Family, op.Table, op.Set)
	var err error
	if len(op.Delete) > 0 {
		err = conn.SetDeleteElements(set, encode(op.Delete, false))
	}
	if len(op.Add) > 0 && err == nil {
		err = conn.SetAddElements(set, encode(op.Add, true))
	}
	if err != nil {
		return fmt.Errorf("encode elements of set %s %s %s: %w", op.Family, op.Table, op.Set, err)
	}
	return nil
}

func encode(list []Element, whole bool) []nftables.SetElement {
	out := make([]nftables.SetElement, len(list))
	for i, e := range list {
		out[i].Key, out[i].KeyEnd = []byte(e.Key), []byte(e.KeyEnd)
		if whole {
			out[i].Val, out[i].Comment, out[i].Timeout = []byte(e.Data), e.Comment, e.Timeout
		}
	}
	return out
}

func flush(ctx context.Context, conn *nftables.Conn) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("change nftables elements: %w", err)
	}
	return nil
}

func handle(family Family, table, set string) *nftables.Set {
	number := map[Family]nftables.TableFamily{
		IPv4: nftables.TableFamilyIPv4, IPv6: nftables.TableFamilyIPv6, ARP: nftables.TableFamilyARP,
	}[family]
	return &nftables.Set{Table: &nftables.Table{Name: table, Family: number}, Name: set, HasTimeout: true}
}
