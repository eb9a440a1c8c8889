// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Probe tries, in a network namespace that is thrown away, what a node network is made of, and names every feature that
// this kernel lacks.
func Probe() error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// The first thread must stay in its namespace; while it is held, the next goroutine gets another.
			result <- Probe()
			runtime.UnlockOSThread()
			return
		}
		result <- probeHere()
	}()
	return <-result
}

func probeHere() error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("this kernel makes no network namespaces (CONFIG_NET_NS): %w", err)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "probe"
	var errs []error
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "probepeer"}); err != nil {
		errs = append(errs, fmt.Errorf("this kernel has no veth devices (CONFIG_VETH, modprobe veth): %w", err))
	}
	attrs.Name = "probebridge"
	if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
		errs = append(errs, fmt.Errorf("this kernel has no bridges (CONFIG_BRIDGE, modprobe bridge): %w", err))
	}
	if err := EnsureMasquerade("probe", netip.MustParsePrefix("192.0.2.0/24")); err != nil {
		errs = append(errs, fmt.Errorf("this kernel has no nftables with NAT (CONFIG_NF_TABLES, CONFIG_NFT_NAT, CONFIG_NFT_MASQ, modprobe nf_tables nft_masq): %w", err))
	}
	return errors.Join(errs...)
}
