// SPDX-License-Identifier: Apache-2.0

package portmap

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"eastwest/internal/cni/nftrule"
	"eastwest/internal/cni/nftset"
)

// The table is constant: what is mapped is data in its maps.
//
//	table inet eastwest_hostport {
//		map hostport4   { protocol . host port : container address . container port }
//		map hostip4     { host address . protocol . host port : container address . container port }
//		set masquerade4 { source . destination }             a container's own address, and 127.0.0.1, as source
//		set masqall4    { container address . protocol . container port }
//		…the same with 6…
//		chain prerouting  nat, before -100 + 5:  fib daddr type local jump hostports
//		chain output      the same for what this host sends
//		chain hostports   dnat by hostip, then by hostport
//		chain postrouting masquerade what the sets hold
//		chain localnet    drops what comes for 127.0.0.0/8 from outside: route_localnet would let it in
//	}
//
// Priorities: destinations are changed just after the usual -100, so that a Service proxy there decides first and what
// it leaves alone is looked up here (a packet's destination is changed once); sources just after the usual 100.
//
// A network whose mappings have conditions has a table of its own, of the same shape, whose jumps to hostports have
// the conditions in front (see conditions.go).
type table struct {
	name       string
	conditions [2][]string // of IPv4 and IPv6
}

// TableName is the name of the table; those of networks with conditions have more behind it.
const TableName = "eastwest_hostport"

const (
	priorityDNAT = -95
	prioritySNAT = 105
	priorityRaw  = -300
)

func (t table) set(name string) nftset.Set {
	return nftset.Set{Family: unix.NFPROTO_INET, Table: t.name, Name: name}
}

// setNames are the sets of the table that hold elements of owners; none if there is no table.
func (t table) setNames() ([]string, error) {
	names, err := nftset.Names(unix.NFPROTO_INET, t.name)
	return slices.DeleteFunc(names, func(n string) bool { return strings.HasPrefix(n, "__") }), err
}

// ensure makes the table if it is not there. The caller holds the lock. A table is complete once it has sets.
func (t table) ensure(ctx context.Context) error {
	names, err := nftset.Names(unix.NFPROTO_INET, t.name)
	if err != nil || len(names) > 0 {
		return err
	}
	if t.conditional() {
		if err := t.addJumps(ctx); err != nil {
			return err
		}
	}
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	b := &builder{conn: c, table: c.AddTable(&nftables.Table{Name: t.name, Family: nftables.TableFamilyINet})}
	b.build(!t.conditional())
	if b.err == nil {
		b.err = c.Flush()
	}
	if b.err != nil {
		return fmt.Errorf("make nftables table %s: %w", t.name, b.err)
	}
	return nil
}

type builder struct {
	conn  *nftables.Conn
	table *nftables.Table
	err   error
}

func (b *builder) build(jumps bool) {
	hostports := b.conn.AddChain(&nftables.Chain{Name: "hostports", Table: b.table})
	if jumps {
		b.jumps(hostports)
	}
	postrouting := b.base("postrouting", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, prioritySNAT)
	localnet := b.base("localnet", nftables.ChainTypeFilter, nftables.ChainHookPrerouting, priorityRaw)
	for _, f := range []nftrule.Family{nftrule.V4(), nftrule.V6()} {
		port, service := portType(), serviceType(f)
		target := nftables.MustConcatSetType(f.Address, nftables.TypeInetService)
		b.rule(hostports, f.Of(), f.DNATByService(b.dataMap("hostip"+f.Name, service, target)))
		b.rule(hostports, f.Of(), f.DNATByPort(b.dataMap("hostport"+f.Name, port, target)))
		pairs := b.set("masquerade"+f.Name, nftables.MustConcatSetType(f.Address, f.Address))
		b.rule(postrouting, f.Of(), f.PairInSet(pairs), nftrule.Masquerade())
		all := b.set("masqall"+f.Name, service)
		b.rule(postrouting, f.Of(), f.ServiceInSet(all), nftrule.Masquerade())
	}
	v4 := nftrule.V4()
	loopback := v4.AddressIn(v4.Dest, expr.CmpOpEq, []byte{127, 0, 0, 0}, []byte{255, 0, 0, 0})
	b.rule(localnet, v4.Of(), nftrule.NotFromLoopback(), loopback, nftrule.Verdict(expr.VerdictDrop, ""))
}

func (b *builder) jumps(to *nftables.Chain) {
	for name, hook := range map[string]*nftables.ChainHook{"prerouting": nftables.ChainHookPrerouting, "output": nftables.ChainHookOutput} {
		from := b.base(name, nftables.ChainTypeNAT, hook, priorityDNAT)
		b.rule(from, nftrule.ToThisHost(), nftrule.Verdict(expr.VerdictJump, to.Name))
	}
}

func portType() nftables.SetDatatype {
	return nftables.MustConcatSetType(nftables.TypeInetProto, nftables.TypeInetService)
}

func serviceType(f nftrule.Family) nftables.SetDatatype {
	return nftables.MustConcatSetType(f.Address, nftables.TypeInetProto, nftables.TypeInetService)
}

func (b *builder) base(name string, kind nftables.ChainType, hook *nftables.ChainHook, priority nftables.ChainPriority) *nftables.Chain {
	return b.conn.AddChain(&nftables.Chain{Name: name, Table: b.table, Type: kind, Hooknum: hook, Priority: &priority})
}

func (b *builder) rule(c *nftables.Chain, pieces ...[]expr.Any) {
	b.conn.AddRule(&nftables.Rule{Table: b.table, Chain: c, Exprs: nftrule.Rule(pieces...)})
}

func (b *builder) set(name string, key nftables.SetDatatype) *nftables.Set {
	return b.add(&nftables.Set{Name: name, KeyType: key})
}

func (b *builder) dataMap(name string, key, data nftables.SetDatatype) *nftables.Set {
	return b.add(&nftables.Set{Name: name, KeyType: key, DataType: data, IsMap: true})
}

func (b *builder) add(s *nftables.Set) *nftables.Set {
	s.Table, s.KeyByteOrder = b.table, binaryutil.BigEndian
	s.HasTimeout = true // elements stay, but go sooner when they can expire
	if err := b.conn.AddSet(s, nil); err != nil && b.err == nil {
		b.err = err
	}
	return s
}
