// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"

	"eastwest/internal/kernel/netns"
)

// ReadyTarget is what a readiness check looks at.
type ReadyTarget struct {
	// Record is the cluster.
	Record *Record
	// Nodes are the nodes that have to serve.
	Nodes []Node
	// Kubeconfig is the host's path of the administrator's kubeconfig; the server writes it when it starts.
	Kubeconfig string
	// NetNS is the path of a node's network namespace.
	NetNS func(node Node) string
	// Progress is told how far the cluster is.
	Progress func(text string)
}

func (c *Clusters) readyTarget(r *Record, nodes []Node) ReadyTarget {
	return ReadyTarget{
		Record:     r,
		Nodes:      nodes,
		Kubeconfig: c.serverFile(r, "admin.kubeconfig"),
		NetNS:      func(node Node) string { return c.machine(r, node).NetNS() },
		Progress:   c.config.Progress,
	}
}

// awaitReady returns when the API says that every node is Ready, and every node's processes get an answer from DNS.
func awaitReady(ctx context.Context, target ReadyTarget) error {
	if _, err := awaitFile(ctx, target.Kubeconfig); err != nil {
		return fmt.Errorf("wait for the server's kubeconfig: %w", err)
	}
	// One after the other: asking a node that is not there yet takes time from those that it waits for.
	if err := awaitNodes(ctx, target); err != nil {
		return err
	}
	return awaitNames(ctx, target)
}

// awaitNames asks for the name of the API's own service from every node, at every address of the cluster's DNS.
func awaitNames(ctx context.Context, target ReadyTarget) error {
	var answered atomic.Int32
	checks := make([]func() error, 0, len(target.Nodes))
	for _, node := range target.Nodes {
		checks = append(checks, func() error {
			for _, address := range target.Record.DNS() {
				if err := awaitName(ctx, target, node, netip.AddrPortFrom(address, 53)); err != nil {
					return err
				}
			}
			target.Progress(fmt.Sprintf("DNS answers on %d of %s", answered.Add(1), count(len(target.Nodes), "node")))
			return nil
		})
	}
	return parallel(checks...)
}

func awaitName(ctx context.Context, target ReadyTarget, node Node, server netip.AddrPort) error {
	name := dns.Fqdn("kubernetes.default.svc." + strings.TrimSuffix(target.Record.Domain, "."))
	kind := dns.TypeA // of the primary family, which is the one that this service has
	if target.Record.ServiceCIDRs[0].Addr().Is6() {
		kind = dns.TypeAAAA
	}
	for {
		err := netns.Do(target.NetNS(node), func() error { return ask(ctx, server, name, kind) })
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("DNS does not answer on node %s (%s asked for %s: %w); see eastwest node logs %s", node.Name, server, name, err, node.Name)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// ask sends one query. It runs in a node's network namespace: the socket is opened on the calling thread.
func ask(ctx context.Context, server netip.AddrPort, name string, kind uint16) error {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(server))
	if err != nil {
		return err
	}
	defer conn.Close()
	query := new(dns.Msg).SetQuestion(name, kind)
	client := dns.Client{Timeout: 200 * time.Millisecond}
	answer, _, err := client.ExchangeWithConnContext(ctx, query, &dns.Conn{Conn: conn})
	if err != nil {
		return err
	}
	if answer.Rcode != dns.RcodeSuccess || len(answer.Answer) == 0 {
		return fmt.Errorf("answer %s with %s", dns.RcodeToString[answer.Rcode], count(len(answer.Answer), "record"))
	}
	return nil
}
