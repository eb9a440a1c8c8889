// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"
	"os"
	"runtime"
	"strconv"
	"time"

	"eastwest/internal/dataplane"
	"eastwest/internal/kernel/conntrack"
	"eastwest/internal/kernel/sysctl"
)

// Tracking is how long the kernel remembers connections, and how many; zero leaves what it has. Services need it: what the
// kernel has forgotten goes on untranslated.
type Tracking struct {
	TCPEstablished, TCPCloseWait time.Duration
	UDP, UDPStream               time.Duration
	TCPLiberal                   bool // packets outside a TCP window are not invalid
	MaxPerCore                   int  // connections for each processor; 0 leaves the limit and Min aside
	Min                          int  // and so many at least
}

// DefaultTracking is kube-proxy's: an idle connection is remembered for a day instead of five, and one that a client has
// closed and its server not for an hour instead of a minute.
func DefaultTracking() Tracking {
	return Tracking{TCPEstablished: 24 * time.Hour, TCPCloseWait: time.Hour}
}

// limit returns how many connections are tracked; 0 leaves what the kernel has.
func (t Tracking) limit(cores int) int {
	if t.MaxPerCore == 0 {
		return 0
	}
	return max(t.MaxPerCore*cores, t.Min)
}

// track sets the parameters of connection tracking, once rules have the kernel track connections.
func (n *Network) track(ctx context.Context) error {
	if !n.needsLoopback() {
		if err := closeLoopback(n.config.Netns); err != nil {
			n.config.Log.Warn("loopback stays open to packets from elsewhere", "err", err)
		}
	}
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
	if n.needsLoopback() {
		n.openLoopback() // now that neighbours are kept from it
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
	n.raiseLimit()
	return nil
}

func (n *Network) raiseLimit() {
	limit := n.config.Tracking.limit(runtime.NumCPU())
	if limit == 0 {
		return
	}
	switch err := conntrack.New(n.config.Netns).Raise(limit); {
	case errors.Is(err, os.ErrPermission):
		n.config.Log.Info("how many connections are tracked is for the machine's own network namespace to say", "wanted", limit)
	case err != nil:
		n.config.Log.Warn("the limit of tracked connections stays as it is", "wanted", limit, "err", err)
	}
}

// routeLocalnet lets packets from the loopback's addresses leave for endpoints. To the kernel every value but 0 is the same, so
// that ours says who has set it.
const (
	routeLocalnet = "net/ipv4/conf/all/route_localnet"
	opened        = "2"
)

// needsLoopback reports whether node ports on the loopback need the parameter. IPVS gives their connections another source.
func (n *Network) needsLoopback() bool {
	_, loopback := dataplane.NodePortAddresses(n.config.NodePortAddresses)
	return len(loopback) > 0 && n.config.Backend != backendIPVS
}

// openLoopback sets the parameter where nobody has.
func (n *Network) openLoopback() {
	err := inNetns(n.config.Netns, func() error {
		if have, err := sysctl.Get(routeLocalnet); err != nil || have != "0" {
			return err
		}
		return sysctl.Set(routeLocalnet, opened)
	})
	if err != nil {
		n.config.Log.Warn("node ports are not served on loopback", "err", err)
	}
}

// closeLoopback takes the parameter back if we have set it.
func closeLoopback(netns string) error {
	return inNetns(netns, func() error {
		if have, err := sysctl.Get(routeLocalnet); err != nil || have != opened {
			return err
		}
		return sysctl.Set(routeLocalnet, "0")
	})
}
