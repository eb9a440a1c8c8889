// SPDX-License-Identifier: Apache-2.0

package link_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"eastwest/internal/kernel/link"
	"eastwest/internal/kernel/netns/netnstest"
)

func network(text string) *net.IPNet {
	ip, n, err := net.ParseCIDR(text)
	if err != nil {
		panic(err)
	}
	return &net.IPNet{IP: ip, Mask: n.Mask}
}

// inside runs fn with a pair of devices in a namespace of its own, of which one has the name eth0.
func inside(t *testing.T, fn func(h *link.Handle, l netlink.Link) error) {
	t.Helper()
	netnstest.In(t, netnstest.New(t), func() error {
		veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "eth0"}, PeerName: "other"}
		other := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "other"}}
		if err := errors.Join(netlink.LinkAdd(veth), netlink.LinkSetUp(other)); err != nil {
			return err
		}
		h, err := link.Open()
		if err != nil {
			return err
		}
		defer h.Close()
		return fn(h, veth)
	})
}

func output(name string, args ...string) string {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return err.Error() + ": " + string(out)
	}
	return string(out)
}

// All that a batch can ask for is there afterwards, as ip shows it.
func TestBatch(t *testing.T) {
	inside(t, func(h *link.Handle, l netlink.Link) error {
		b := &link.Batch{}
		b.AddAddress(l, &netlink.Addr{IPNet: network("10.1.2.3/24")})
		b.AddAddress(l, &netlink.Addr{IPNet: network("10.9.0.1/31"), Scope: unix.RT_SCOPE_LINK})
		b.AddAddress(l, &netlink.Addr{IPNet: network("10.8.0.1/32"), Peer: network("10.8.0.2/32")})
		b.AddAddress(l, &netlink.Addr{IPNet: network("fd00::3/64"), Flags: unix.IFA_F_NODAD | unix.IFA_F_NOPREFIXROUTE})
		b.SetUp(l, "whose it is")
		b.AddRoute(l, &netlink.Route{Dst: network("198.51.100.1/32"), Src: net.ParseIP("10.1.2.3"), Scope: netlink.SCOPE_LINK}, unix.NLM_F_EXCL)
		b.AddRoute(l, &netlink.Route{Dst: network("0.0.0.0/0"), Gw: net.ParseIP("10.1.2.1"), MTU: 1400, AdvMSS: 1300, Priority: 5}, 0)
		b.AddRoute(l, &netlink.Route{Dst: network("203.0.113.0/24"), Gw: net.ParseIP("10.1.2.1"), Table: 100}, 0)
		b.AddRoute(l, &netlink.Route{Dst: network("203.0.113.0/24"), Gw: net.ParseIP("10.1.2.1"), Table: 1000}, 0)
		b.AddRoute(l, &netlink.Route{Dst: network("203.0.113.0/24"), Gw: net.ParseIP("10.1.2.2"), Table: 1000}, unix.NLM_F_REPLACE)
		b.AddRoute(l, &netlink.Route{Dst: network("::/0"), Gw: net.ParseIP("fe80::1")}, 0)
		if err := h.Apply(b); err != nil {
			return err
		}
		for _, test := range []struct{ command, holds string }{
			{"-4 addr show eth0", "inet 10.1.2.3/24 brd 10.1.2.255 scope global eth0"},
			{"-4 addr show eth0", "inet 10.9.0.1/31 scope link eth0"},
			{"-4 addr show eth0", "inet 10.8.0.1 peer 10.8.0.2/32 scope global eth0"},
			{"-6 addr show eth0", "inet6 fd00::3/64 scope global nodad noprefixroute"},
			{"link show eth0", "UP"},
			{"link show eth0", "alias whose it is"},
			{"route show", "198.51.100.1 dev eth0 scope link src 10.1.2.3"},
			{"route show", "default via 10.1.2.1 dev eth0 metric 5 mtu 1400 advmss 1300"},
			{"route show table 100", "203.0.113.0/24 via 10.1.2.1 dev eth0"},
			{"route show table 1000", "203.0.113.0/24 via 10.1.2.2 dev eth0"},
			{"-6 route show", "default via fe80::1 dev eth0"},
		} {
			got := output("ip", strings.Fields(test.command)...)
			plain := strings.ReplaceAll(strings.Join(strings.Fields(got), " "), " linkdown", "") // the carrier comes a little later
			if !strings.Contains(plain, test.holds) {
				t.Errorf("ip %s shows no %q:\n%s", test.command, test.holds, got)
			}
		}
		return nil
	})
}

// The first failure is the error, with what was tried; what came after it was tried all the same, and a failure that was reckoned with is none.
func TestBatchFailures(t *testing.T) {
	inside(t, func(h *link.Handle, l netlink.Link) error {
		twice := &netlink.Addr{IPNet: network("10.1.2.3/24")}
		b := &link.Batch{}
		b.AddAddress(l, twice)
		b.AddAddress(l, twice, unix.EEXIST)
		if err := h.Apply(b); err != nil {
			return fmt.Errorf("an address twice: %w", err)
		}
		b = &link.Batch{}
		b.AddRoute(l, &netlink.Route{Dst: network("203.0.113.0/24"), Gw: net.ParseIP("10.7.7.7")}, 0)
		b.AddAddress(l, twice)
		b.SetUp(l, "")
		err := h.Apply(b)
		if want := "add route 203.0.113.0/24 via 10.7.7.7 dev eth0: "; err == nil || !strings.HasPrefix(err.Error(), want) || errors.Is(err, unix.EEXIST) {
			t.Errorf("the error is %v, want %s…", err, want)
		}
		if got := output("ip", "link", "show", "eth0"); !strings.Contains(got, "UP") {
			t.Errorf("what came after the failure was not tried:\n%s", got)
		}
		return nil
	})
}

// The kernel would take the first bytes of an IPv6 address for an IPv4 gateway.
func TestRoutesOfTwoFamiliesAreRefused(t *testing.T) {
	inside(t, func(h *link.Handle, l netlink.Link) error {
		b := &link.Batch{}
		b.AddAddress(l, &netlink.Addr{IPNet: network("10.1.2.3/24")})
		b.AddRoute(l, &netlink.Route{Dst: network("0.0.0.0/0"), Gw: net.ParseIP("fd00::1")}, 0)
		err := h.Apply(b)
		if err == nil || !strings.Contains(err.Error(), "not of one family") {
			t.Errorf("the error is %v", err)
		}
		if got := output("ip", "-4", "addr", "show", "eth0"); strings.Contains(got, "10.1.2.3") {
			t.Errorf("half of it was done:\n%s", got)
		}
		return nil
	})
}

// The kernel's own answer says what was made, of either end.
func TestPairs(t *testing.T) {
	sandbox := netnstest.New(t)
	netnstest.In(t, netnstest.New(t), func() error {
		h, err := link.Open()
		if err != nil {
			return err
		}
		defer h.Close()
		f, err := os.Open(sandbox)
		if err != nil {
			return err
		}
		defer f.Close()
		inner, err := link.OpenIn(f)
		if err != nil {
			return err
		}
		defer inner.Close()
		mac, peer := net.HardwareAddr{2, 1, 2, 3, 4, 5}, net.HardwareAddr{2, 1, 2, 3, 4, 6}
		b := &link.Batch{}
		b.AddPair(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "host0", MTU: 1400, HardwareAddr: mac, Group: 7},
			PeerName: "eth0", PeerMTU: 1300, PeerHardwareAddr: peer}, f.Fd())
		if err := h.Apply(b); err != nil {
			return err
		}
		for _, end := range []struct {
			h         *link.Handle
			name      string
			mac       net.HardwareAddr
			mtu, with int
		}{{h, "host0", mac, 1400, 7}, {inner, "eth0", peer, 1300, 0}} {
			l, err := end.h.LinkByName(end.name)
			if err != nil {
				return err
			}
			index, err := end.h.Index(end.name)
			if a := l.Attrs(); err != nil || index != a.Index || l.Type() != "veth" || a.HardwareAddr.String() != end.mac.String() || a.MTU != end.mtu ||
				int(a.Group) != end.with || a.NumTxQueues != 1 || a.NumRxQueues != 1 {
				t.Errorf("%s has index %d (%v) and %+v", end.name, index, err, a)
			}
		}
		if err := h.Apply(b); !errors.Is(err, unix.EEXIST) {
			t.Errorf("the same once more: %v", err)
		}
		if _, err := inner.Index("host0"); !link.IsNotFound(err) {
			t.Errorf("index of what is in the other namespace: %v", err)
		}
		return nil
	})
}
