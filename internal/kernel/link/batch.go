// SPDX-License-Identifier: Apache-2.0

package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Batch collects changes that the kernel is handed together: one system call, instead of a request, an answer and a thread of Go's poller that wakes
// for each. The kernel carries them out one after another, and goes on after one that fails.
type Batch struct {
	changes []change
	wrong   error // what cannot be asked for
}

type change struct {
	what    string // with its verb, for errors
	request *nl.NetlinkRequest
	passed  []error // failures that are none
}

func (b *Batch) add(what string, kind, flags int, passed []error) *nl.NetlinkRequest {
	r := nl.NewNetlinkRequest(kind, flags|unix.NLM_F_ACK)
	b.changes = append(b.changes, change{what, r, passed})
	return r
}

// AddPair makes a veth pair with its other end in the namespace that sandbox is a descriptor of. Of the veth Name, MTU, HardwareAddr and Group
// count, and PeerName, PeerMTU and PeerHardwareAddr. Each end has one queue: the kernel would make one for each processor, to use one of them.
func (b *Batch) AddPair(v *netlink.Veth, sandbox uintptr) {
	r := b.add("make veth pair "+v.Name+", "+v.PeerName, unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, nil)
	encodePair(r, v, sandbox)
}

// SetUp brings a device up. With an alias, it gets that before.
func (b *Batch) SetUp(l netlink.Link, alias string) {
	r := b.add("set "+l.Attrs().Name+" up", unix.RTM_NEWLINK, 0, nil)
	info := nl.NewIfInfomsg(unix.AF_UNSPEC)
	info.Index, info.Change, info.Flags = int32(l.Attrs().Index), unix.IFF_UP, unix.IFF_UP
	r.AddData(info)
	if alias != "" {
		r.AddData(nl.NewRtAttr(unix.IFLA_IFALIAS, []byte(alias)))
	}
}

// AddAddress gives a device an address, of which IPNet, Peer, Scope and Flags count. An IPv4 address gets the broadcast address of its network. Errors among
// passed are none.
func (b *Batch) AddAddress(l netlink.Link, a *netlink.Addr, passed ...error) {
	r := b.add(fmt.Sprintf("add address %s to %s", a.IPNet, l.Attrs().Name), unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL, passed)
	encodeAddress(r, l.Attrs().Index, a)
}

// AddRoute adds a route to a device, with the request flags that say what becomes of others to the same destination (NLM_F_EXCL, NLM_F_REPLACE; 0 for one more beside them).
// Of the route Dst, Src, Gw, Scope, Table, Priority, MTU and AdvMSS count. Errors among passed are none.
func (b *Batch) AddRoute(l netlink.Link, route *netlink.Route, flags int, passed ...error) {
	what := "add route " + route.Dst.String()
	if route.Gw != nil {
		what += " via " + route.Gw.String()
	}
	what += " dev " + l.Attrs().Name
	if family := nl.GetIPFamily(route.Dst.IP); route.Gw != nil && nl.GetIPFamily(route.Gw) != family || route.Src != nil && nl.GetIPFamily(route.Src) != family {
		b.wrong = errors.Join(b.wrong, fmt.Errorf("%s: its addresses are not of one family", what)) // the kernel would take the half of one for one
		return
	}
	encodeRoute(b.add(what, unix.RTM_NEWROUTE, unix.NLM_F_CREATE|flags, passed), l.Attrs().Index, route)
}

// Apply carries out a batch in the handle's namespace. The error is that of the first change that failed; the others were tried all the same, unless
// one of them made no sense.
func (h *Handle) Apply(b *Batch) error {
	if b.wrong != nil || len(b.changes) == 0 {
		return b.wrong
	}
	var message []byte
	waiting := map[uint32]int{}
	for i, c := range b.changes {
		message = append(message, c.request.Serialize()...)
		waiting[c.request.Seq] = i
	}
	if err := unix.Sendto(h.fd, message, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("change links: %w", err)
	}
	return h.collect(b, waiting)
}

// collect reads the answers, which are there: the kernel has given them before it took the next system call.
func (h *Handle) collect(b *Batch, waiting map[uint32]int) error {
	failures := make([]error, len(b.changes))
	buffer := make([]byte, 8192)
	for len(waiting) > 0 {
		n, _, err := unix.Recvfrom(h.fd, buffer, unix.MSG_DONTWAIT)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("change links: %d of %d changes were not acknowledged: %w", len(waiting), len(b.changes), err)
		}
		messages, err := syscall.ParseNetlinkMessage(buffer[:n])
		if err != nil {
			return fmt.Errorf("change links: %w", err)
		}
		for _, m := range messages {
			if i, asked := waiting[m.Header.Seq]; asked && m.Header.Type == unix.NLMSG_ERROR && len(m.Data) >= 4 {
				failures[i] = b.changes[i].judge(unix.Errno(-int32(binary.NativeEndian.Uint32(m.Data))))
				delete(waiting, m.Header.Seq)
			}
		}
	}
	first := slices.IndexFunc(failures, func(err error) bool { return err != nil })
	if first < 0 {
		return nil
	}
	return failures[first]
}

func (c *change) judge(number unix.Errno) error {
	if number == 0 || slices.Contains(c.passed, error(number)) {
		return nil
	}
	return fmt.Errorf("%s: %w", c.what, number)
}
