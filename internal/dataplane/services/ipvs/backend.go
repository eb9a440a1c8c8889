// SPDX-License-Identifier: Apache-2.0

// Package ipvs carries Services by IPVS, the kernel's virtual servers. Rules decide what IPVS knows nothing of: who is
// masqueraded, refused, dropped, or sent to another virtual server because he comes from outside.
//
//	row ─render─▶ virtual servers with destinations, elements of nftables sets ─diff─▶ ─apply▶ netlink
//	configuration ─program─▶ text ─▶ nft -f      (at start)
//
// IPVS sees only packets that are delivered to this machine, so the device kube-ipvs0 has the virtual addresses. A packet of
// a new connection meets, in this order: source ranges, translation to an alias (prerouting); what is dropped, refused or
// marked for masquerading (input); IPVS; masquerading (postrouting). Connections of this machine meet the same in output.
//
// A destination that goes gets weight 0: it keeps its TCP connections and gets no other, and is removed when they have ended.
package ipvs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"

	"eastwest/internal/dataplane"
	"eastwest/internal/kernel/ipvs"
	"eastwest/internal/kernel/nft"
	"eastwest/internal/table"
)

// Servers is what the backend needs of IPVS.
type Servers interface {
	Prepare(ctx context.Context, settings ipvs.Settings) error
	Servers(ctx context.Context) ([]ipvs.Server, error)
	Destinations(ctx context.Context, of ipvs.Key) ([]ipvs.Destination, error)
	Add(ctx context.Context, s ipvs.Server) error
	Delete(ctx context.Context, key ipvs.Key) error
	AddDestination(ctx context.Context, to ipvs.Key, d ipvs.Destination) error
	DeleteDestination(ctx context.Context, of ipvs.Key, addr netip.AddrPort) error
}

// Device is what the backend needs of the device with the addresses.
type Device interface {
	Prepare(ctx context.Context) error
	Addresses(ctx context.Context) (ipvs.Addresses, error)
	Add(ctx context.Context, addr netip.Addr) error
	Delete(ctx context.Context, addr netip.Addr) error
	Remove(ctx context.Context) error
}

// Rules is what the backend needs of nftables.
type Rules interface {
	Run(ctx context.Context, script string) error
	List(ctx context.Context, family nft.Family, table string) (string, error)
	Elements(ctx context.Context, family nft.Family, table, set string) ([]nft.Element, error)
	Change(ctx context.Context, ops []nft.Op) error
}

// Config is what a Backend needs.
type Config struct {
	dataplane.Node
	Servers   Servers
	Device    Device
	Rules     Rules
	Scheduler string // how a destination is chosen; empty is rr, in turn
	Settings  ipvs.Settings
	Log       *slog.Logger
}

// Backend is the services dataplane on IPVS, IPv4 and IPv6. It is not safe for concurrent use.
type Backend struct {
	config   Config
	programs [3]program
	written  [3]written
	last     table.Table[table.Service]
	synced   bool
	render   renderer
	shared   [3]map[place]int // how many services have an element that several may have
	leaving  map[ipvs.Key]leaver
	made     map[ipvs.Key]bool // virtual servers that may be there from us, whatever the rules say
}

// written is a program and how nft listed it right after it was written: versions of nft spell some rules differently.
type written struct{ program, listing string }

var _ dataplane.Dataplane[table.Service] = (*Backend)(nil)

// New makes a backend; it touches nothing before the first Apply.
func New(config Config) (*Backend, error) {
	if config.Servers == nil || config.Device == nil || config.Rules == nil || config.Log == nil {
		return nil, errors.New("make the IPVS backend: Servers, Device, Rules and Log are required")
	}
	if config.Scheduler == "" {
		config.Scheduler = ipvs.Schedulers()[0]
	}
	if !ipvs.Known(config.Scheduler) {
		return nil, fmt.Errorf("make the IPVS backend: there is no scheduler %q: use one of %v", config.Scheduler, ipvs.Schedulers())
	}
	b := &Backend{config: config, made: map[ipvs.Key]bool{}, leaving: map[ipvs.Key]leaver{}}
	b.render = renderer{scheduler: config.Scheduler, nodeports: nodePortsOf(config.NodePortAddresses)}
	for i, family := range families {
		b.programs[i] = program{NodeView: config.View(family == nft.IPv6), family: family}
	}
	return b, nil
}

// Apply makes the kernel match want. Only changed rows are looked at, unless changed.All says to compare everything.
func (b *Backend) Apply(ctx context.Context, want table.Table[table.Service], changed table.Keys) error {
	all := changed.All || !b.synced
	b.synced = false
	var err error
	if all {
		err = b.sync(ctx, want)
	} else {
		err = b.change(ctx, want, changed.Names)
	}
	if err != nil {
		return fmt.Errorf("apply services: %w", err)
	}
	b.last, b.synced = want, true
	return nil
}

// change applies some rows: what the last table holds of them is what the kernel has.
func (b *Backend) change(ctx context.Context, want table.Table[table.Service], names []string) error {
	names = slices.Compact(slices.Sorted(slices.Values(names))) // named twice, a row would be counted twice
	have, wanted := newImage(), newImage()
	before := [3]map[place]int{{}, {}, {}}
	if err := b.rows(b.last, names, -1, before, have); err != nil {
		return err
	}
	if err := b.rows(want, names, +1, before, wanted); err != nil {
		return err
	}
	b.share(before, have, wanted)
	if err := b.drain(ctx); err != nil {
		return err
	}
	if err := b.write(ctx, have, wanted); err != nil {
		return err
	}
	for front := range have.aliases {
		if !wanted.aliases[front] {
			b.render.aliases.free(front)
		}
	}
	return nil
}

// rows renders services, and counts what they share with others.
func (b *Backend) rows(from table.Table[table.Service], names []string, by int, before [3]map[place]int, out image) error {
	for _, name := range names {
		row, ok := from.Get(name)
		if !ok {
			continue
		}
		own := newImage()
		if err := b.render.render(row, own); err != nil {
			return err
		}
		for family, elements := range own.elements {
			for at := range elements {
				if at.set != setAddress && at.set != setHairpin {
					continue
				}
				if _, ok := before[family][at]; !ok {
					before[family][at] = b.shared[family][at]
				}
				b.shared[family][at] += by
			}
			maps.Copy(out.elements[family], elements)
		}
		maps.Copy(out.servers, own.servers)
		maps.Copy(out.aliases, own.aliases)
	}
	return nil
}

// share leaves in have and want only those shared elements that appear or vanish.
func (b *Backend) share(before [3]map[place]int, have, want image) {
	for family := range families {
		for at, count := range before[family] {
			delete(have.elements[family], at)
			delete(want.elements[family], at)
			if count > 0 {
				have.elements[family][at] = value{}
			}
			if b.shared[family][at] > 0 {
				want.elements[family][at] = value{}
				continue
			}
			delete(b.shared[family], at)
		}
	}
}

// sync compares everything with the kernel.
func (b *Backend) sync(ctx context.Context, want table.Table[table.Service]) error {
	if err := b.config.Servers.Prepare(ctx, b.config.Settings); err != nil {
		return err
	}
	if err := b.config.Device.Prepare(ctx); err != nil {
		return err
	}
	addresses, have, err := b.look(ctx)
	if err != nil {
		return err
	}
	b.learn(addresses, have)
	for family := range families {
		if err := b.establish(ctx, family, have.listings[family]); err != nil {
			return err
		}
	}
	for _, addr := range aliases {
		if err := b.config.Device.Add(ctx, addr); err != nil {
			return err
		}
	}
	b.shared, b.leaving = [3]map[place]int{{}, {}, {}}, map[ipvs.Key]leaver{}
	wanted := newImage()
	if err := b.rows(want, want.Keys(), +1, [3]map[place]int{{}, {}, {}}, wanted); err != nil {
		return err
	}
	b.render.aliases.settle()
	wanted.servers[Canary] = server{scheduler: b.config.Scheduler, weights: map[netip.AddrPort]int{}, alias: true}
	if err := b.missingAddresses(ctx, addresses, wanted); err != nil {
		return err
	}
	if err := b.servers(ctx, addresses, have, wanted); err != nil {
		return err
	}
	return b.write(ctx, have, wanted)
}

// missingAddresses puts on the device what somebody took away although the rules still have it.
func (b *Backend) missingAddresses(ctx context.Context, addresses ipvs.Addresses, want image) error {
	for family := range aliases {
		for at := range want.elements[family] {
			addr, ok := netip.AddrFromSlice([]byte(at.key))
			if at.set != setAddress || !ok || addresses.On[addr] {
				continue
			}
			if err := b.config.Device.Add(ctx, addr); err != nil {
				return err
			}
		}
	}
	return nil
}

// Remove takes away the virtual servers, the device and the tables.
func (b *Backend) Remove(ctx context.Context) error {
	b.synced = false
	addresses, have, err := b.look(ctx)
	if err == nil && have.listings == ([3]string{}) && addresses.Shared {
		return nil // nothing was ever written, and IPVS is not loaded for this
	}
	if err == nil {
		err = b.servers(ctx, addresses, have, newImage())
	}
	if err != nil && !errors.Is(err, ipvs.ErrMissing) {
		return fmt.Errorf("remove services: %w", err)
	}
	var errs []error
	for key := range have.servers {
		errs = append(errs, b.config.Servers.Delete(ctx, key))
	}
	for _, addr := range append(addressesOf(have), aliases[:]...) {
		errs = append(errs, b.config.Device.Delete(ctx, addr))
	}
	errs = append(errs, b.config.Device.Remove(ctx))
	for i, family := range families {
		head := fmt.Sprintf("table %s %s", family, TableName)
		if have.listings[i] == "" {
			continue
		}
		errs = append(errs, b.config.Rules.Run(ctx, "add "+head+"\ndelete "+head+"\n"))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove services: %w", err)
	}
	return nil
}

func addressesOf(i image) []netip.Addr {
	var out []netip.Addr
	for family := range aliases {
		for at := range i.elements[family] {
			if addr, ok := netip.AddrFromSlice([]byte(at.key)); ok && at.set == setAddress {
				out = append(out, addr)
			}
		}
	}
	return out
}
