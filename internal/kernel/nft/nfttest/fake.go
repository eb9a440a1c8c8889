// SPDX-License-Identifier: Apache-2.0

// Package nfttest is nftables in memory, for tests: tables as text, sets with elements, the kernel's refusals, and
// failures on demand.
package nfttest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"

	"eastwest/internal/kernel/nft"
)

// Fake is one network namespace's nftables. The zero value is empty; it is safe for concurrent use.
type Fake struct {
	// Fail is asked before every call; its error is returned and nothing done. May be nil.
	Fail func() error
	// Refuse is asked for every element that is added, by its comment. May be nil.
	Refuse func(comment string) error

	mu     sync.Mutex
	tables map[string]*content // by "family name"
}

type content struct {
	text string
	sets map[string]map[string]nft.Element
}

var (
	setLine   = regexp.MustCompile(`(?m)^\t(?:map|set) (\S+) \{`)
	tableLine = regexp.MustCompile(`^table (\S+) (\S+) \{`)
)

// Run executes the commands that the dataplanes write: add, flush and delete table, delete of a set, map or chain, and a table
// in braces.
func (f *Fake) Run(_ context.Context, script string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.fail(); err != nil {
		return err
	}
	next := f.copied()
	for script != "" {
		line, rest, _ := strings.Cut(script, "\n")
		if match := tableLine.FindStringSubmatch(line); match != nil {
			block, after, found := strings.Cut(script, "\n}\n")
			if !found {
				return errors.New("table without an end")
			}
			name := match[1] + " " + match[2]
			if next[name] == nil {
				next[name] = &content{sets: map[string]map[string]nft.Element{}}
			}
			next[name].define(block + "\n}\n")
			script = after
			continue
		}
		words := strings.Fields(line)
		if len(words) == 4 && words[1] == "table" {
			if err := command(next, words[0], words[2]+" "+words[3]); err != nil {
				return err
			}
		} else if len(words) == 5 && words[0] == "delete" && next[words[2]+" "+words[3]] != nil {
			delete(next[words[2]+" "+words[3]].sets, words[4]) // of chains nothing is kept but the text
		} else if line != "" {
			return fmt.Errorf("unknown command %q", line)
		}
		script = rest
	}
	f.tables = next
	return nil
}

func command(tables map[string]*content, verb, name string) error {
	switch {
	case verb == "add":
		if tables[name] == nil {
			tables[name] = &content{sets: map[string]map[string]nft.Element{}}
		}
	case tables[name] == nil:
		return fmt.Errorf("%s table %s: %w", verb, name, nft.ErrNotExist)
	case verb == "delete":
		delete(tables, name)
	case verb != "flush":
		return fmt.Errorf("unknown command %q", verb)
	}
	return nil
}

func (c *content) define(text string) {
	c.text = text
	for _, match := range setLine.FindAllStringSubmatch(text, -1) {
		if c.sets[match[1]] == nil {
			c.sets[match[1]] = map[string]nft.Element{}
		}
		_, block, _ := strings.Cut(text, match[0])
		block, _, _ = strings.Cut(block, "\n\t}\n")
		_, elements, _ := strings.Cut(block, "elements = {")
		for _, e := range strings.FieldsFunc(elements, func(r rune) bool { return r == ',' || r == '}' }) {
			if e = strings.TrimSpace(e); e != "" {
				c.sets[match[1]][e] = nft.Element{Key: e} // of a constant map: how many there are is all that is asked
			}
		}
	}
}

// List returns the text that the table was defined with.
func (f *Fake) List(_ context.Context, family nft.Family, table string) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.fail(); err != nil {
		return "", err
	}
	c := f.tables[string(family)+" "+table]
	if c == nil {
		return "", nft.ErrNotExist
	}
	return c.text, nil
}

// Elements returns the elements of a set, in no order.
func (f *Fake) Elements(_ context.Context, family nft.Family, table, set string) ([]nft.Element, error) {
	all, err := f.read(family, table, set)
	return slices.Collect(maps.Values(all)), err
}

// Lookup returns the elements that have one of the keys.
func (f *Fake) Lookup(_ context.Context, family nft.Family, table, set string, keys []string) ([]nft.Element, error) {
	all, err := f.read(family, table, set)
	var out []nft.Element
	for _, key := range keys {
		if e, ok := all[key]; ok {
			out = append(out, e)
		}
	}
	return out, err
}

// read returns a set's elements by their keys.
func (f *Fake) read(family nft.Family, table, set string) (map[string]nft.Element, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.fail(); err != nil {
		return nil, err
	}
	elements, err := find(f.tables, nft.Op{Family: family, Table: table, Set: set})
	return maps.Clone(elements), err
}

// Change executes the operations, all of them or none. As the kernel does, it refuses to delete what is missing and to
// add what is there with other data.
func (f *Fake) Change(_ context.Context, ops []nft.Op) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.fail(); err != nil {
		return err
	}
	next := f.copied()
	for _, op := range ops {
		elements, err := find(next, op)
		if err != nil {
			return err
		}
		for _, e := range op.Delete {
			if _, ok := elements[e.Key]; !ok {
				return fmt.Errorf("delete element %x of %s: %w", e.Key, op.Set, nft.ErrNotExist)
			}
			delete(elements, e.Key)
		}
		for _, e := range op.Add {
			if old, ok := elements[e.Key]; ok && old.Data != e.Data {
				return fmt.Errorf("add element %x to %s: it exists with other data", e.Key, op.Set)
			}
			if f.Refuse != nil {
				if err := f.Refuse(e.Comment); err != nil {
					return err
				}
			}
			elements[e.Key] = e
		}
	}
	f.tables = next
	return nil
}

// Flush forgets everything, as somebody with `nft flush ruleset` would.
func (f *Fake) Flush() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tables = nil
}

func (f *Fake) fail() error {
	if f.Fail == nil {
		return nil
	}
	return f.Fail()
}

func (f *Fake) copied() map[string]*content {
	out := map[string]*content{}
	for name, c := range f.tables {
		sets := map[string]map[string]nft.Element{}
		for set, elements := range c.sets {
			sets[set] = maps.Clone(elements)
		}
		out[name] = &content{text: c.text, sets: sets}
	}
	return out
}

func find(tables map[string]*content, op nft.Op) (map[string]nft.Element, error) {
	if c := tables[string(op.Family)+" "+op.Table]; c != nil && c.sets[op.Set] != nil {
		return c.sets[op.Set], nil
	}
	return nil, fmt.Errorf("set %s %s %s: %w", op.Family, op.Table, op.Set, nft.ErrNotExist)
}
