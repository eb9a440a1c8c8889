// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"strconv"
	"time"

	"eastwest/internal/dataplane"
	"eastwest/internal/kernel/sysctl"
)

// Tracking is how long the kernel remembers connections; zero leaves what it has. Services need it: what the kernel has
// forgotten goes on untranslated.
type Tracking struct {
	TCPEstablished, TCPCloseWait time.Duration
	UDP, UDPStream               time.Duration
	TCPLiberal                   bool // packets outside a TCP window are not invalid
}

// DefaultTracking is kube-proxy's: an idle connection is remembered for a day instead of five, and one that a client has
// closed and its server not for an hour instead of a minute.
func DefaultTracking() Tracking {
	return Tracking{TCPEstablished: 24 * time.Hour, TCPCloseWait: time.Hour}
}

// track sets the parameters of connection tracking, once rules have the kernel track connections.
func (n *Network) track(ctx context.Context) error {
	select {
	case <-n.services[0].Ready():
	case <-ctx.Done():
		return ctx.Err()
	}
	t := n.config.Tracking
	values := map[string]int{
		"tcp_timeout_established": int(t.TCPEstablished.Seconds()), "tcp_timeout_close_wait": int(t.TCPCloseWait.Seconds()),
		"udp_timeout": int(t.UDP.Seconds()), "udp_timeout_stream": int(t.UDPStream.Seconds()),
	}
	if t.TCPLiberal {
		values["tcp_be_liberal"] = 1
	}
	if _, loopback := dataplane.NodePortAddresses(n.config.NodePortAddresses); len(loopback) > 0 {
		n.routeLoopback() // now that neighbours are kept from it
	}
	for name, value := range values {
		if value == 0 {
			continue
		}
		err := inNetns(n.config.Netns, func() error {
			return sysctl.Ensure("net/netfilter/nf_conntrack_"+name, strconv.Itoa(value))
		})
		if err != nil {
			n.config.Log.Warn("connection tracking stays as it is", "err", err)
		}
	}
	return nil
}

// routeLoopback lets packets from the loopback's addresses leave for endpoints.
func (n *Network) routeLoopback() {
	err := inNetns(n.config.Netns, func() error { return sysctl.Ensure("net/ipv4/conf/all/route_localnet", "1") })
	if err != nil {
		n.config.Log.Warn("node ports are not served on loopback", "err", err)
	}
}
