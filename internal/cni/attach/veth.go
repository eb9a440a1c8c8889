// SPDX-License-Identifier: Apache-2.0

// Package attach connects a container's network namespace to the host: it makes the pair of devices, and gives the
// container's end its addresses and routes as the IPAM result says.
//
// The host's end has a name made from the container and the interface, and an alias that says whose it is, so that DEL
// finds it when the container's namespace is gone, and a sweep finds what nobody removed.
package attach

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"eastwest/internal/cni/plugin"
	"eastwest/internal/kernel/link"
	"eastwest/internal/kernel/sysctl"
)

// nameAttempts is how many names are tried for the host's end when another container's has the same hash.
const nameAttempts = 4

// HostName is the nth choice of name for the host's end: "veth" and 8 hexadecimal digits.
func HostName(containerID, ifName string, n int) string {
	text := containerID + "/" + ifName
	if n > 0 {
		text += fmt.Sprintf("/%d", n)
	}
	sum := sha256.Sum256([]byte(text))
	return "veth" + hex.EncodeToString(sum[:4])
}

const aliasPrefix = "cni:"

// Alias is the interface alias of the host's end.
func Alias(o plugin.Owner) string { return aliasPrefix + o.String() }

// Pair describes a veth pair to make.
type Pair struct {
	Owner plugin.Owner
	MTU   int              // of both ends; 0 leaves it to the kernel
	MAC   net.HardwareAddr // of the container's end; nil for a random one
	Group uint32           // link group of the host's end
	// NoDAD switches duplicate address detection off on the host's end. Until its link-local address has passed it,
	// the kernel solicits no neighbours for packets that it forwards (1 to 2 s after the link is up).
	NoDAD bool
}

// Ends are the two devices of a pair, each as its own namespace sees it.
type Ends struct {
	Host, Container netlink.Link
}

// Connect makes a veth pair with one end in the host handle's namespace and the other in the namespace sandbox, which
// container is a handle of. The host's end is up, the container's is not yet. On an error nothing is left.
func Connect(host, container *link.Handle, sandbox *os.File, p Pair) (*Ends, error) {
	pair, err := makePair(host, container, sandbox, p)
	if err != nil {
		return nil, err
	}
	inner := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: pair.PeerName, HardwareAddr: pair.PeerHardwareAddr}}
	if pair.Index, err = host.Index(pair.Name); err == nil {
		inner.Index, err = container.Index(pair.PeerName)
	}
	if err == nil {
		err = raise(host, pair, p)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("set up %s: %w", pair.Name, err), host.LinkDel(pair))
	}
	return &Ends{Host: pair, Container: inner}, nil
}

func makePair(host, container *link.Handle, sandbox *os.File, p Pair) (*netlink.Veth, error) {
	for n := range nameAttempts {
		veth := describe(p, HostName(p.Owner.ContainerID, p.Owner.IfName, n))
		b := &link.Batch{}
		b.AddPair(veth, sandbox.Fd())
		err := host.Apply(b)
		if err == nil {
			return veth, nil
		}
		if !errors.Is(err, unix.EEXIST) {
			return nil, err
		}
		if _, err := container.Index(p.Owner.IfName); err == nil {
			return nil, fmt.Errorf("container %s already has an interface %s", p.Owner.ContainerID, p.Owner.IfName)
		}
		if taken, err := host.LinkByName(veth.Name); err == nil && ours(taken, p.Owner) {
			return nil, fmt.Errorf("container %s interface %s is already attached by %s: delete it first", p.Owner.ContainerID, p.Owner.IfName, veth.Name)
		}
	}
	return nil, fmt.Errorf("make veth pair for %s: %d names are taken by other interfaces", p.Owner.IfName, nameAttempts)
}

// describe sets both hardware addresses, so that neither the kernel nor udev chooses later, and none has to be asked.
func describe(p Pair, name string) *netlink.Veth {
	mac := p.MAC
	if mac == nil {
		mac = RandomMAC()
	}
	return &netlink.Veth{
		LinkAttrs:        netlink.LinkAttrs{Name: name, MTU: p.MTU, Group: p.Group, HardwareAddr: RandomMAC()},
		PeerName:         p.Owner.IfName,
		PeerMTU:          uint32(p.MTU),
		PeerHardwareAddr: mac,
	}
}

// RandomMAC is a locally administered unicast address.
func RandomMAC() net.HardwareAddr {
	mac := make(net.HardwareAddr, 6)
	rand.Read(mac) // never fails
	mac[0] = mac[0]&^1 | 2
	return mac
}

// raise sets what belongs to the host's end before traffic flows: routes are ours, not announced by the container.
func raise(host *link.Handle, l netlink.Link, p Pair) error {
	off := []string{"accept_ra"}
	if p.NoDAD {
		off = append(off, "accept_dad")
	}
	for _, parameter := range off {
		err := sysctl.Ensure("net/ipv6/conf/"+l.Attrs().Name+"/"+parameter, "0")
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	up := &link.Batch{}
	up.SetUp(l, Alias(p.Owner))
	return host.Apply(up)
}

// ours reports whether a host's end belongs to an owner. One without an alias was left by a crash between the making
// and the naming, and its name says enough.
func ours(l netlink.Link, o plugin.Owner) bool {
	alias := l.Attrs().Alias
	return l.Type() == "veth" && (alias == "" || alias == Alias(o))
}

// HostEnd is Find where nothing else is asked of the kernel.
func HostEnd(o plugin.Owner) (netlink.Link, error) {
	host, err := link.Open()
	if err != nil {
		return nil, err
	}
	defer host.Close()
	return Find(host, o)
}

// Find returns the host's end of an owner's pair, by name and alias; nil if there is none.
func Find(host *link.Handle, o plugin.Owner) (netlink.Link, error) {
	for n := range nameAttempts {
		l, err := host.LinkByName(HostName(o.ContainerID, o.IfName, n))
		if link.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("look up host side of %s: %w", o.IfName, err)
		}
		if ours(l, o) {
			return l, nil
		}
	}
	return nil, nil
}
