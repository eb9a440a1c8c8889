// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"

	"eastwest/internal/kernel/socketowner"
	"eastwest/internal/table"
)

const (
	eventSource   = "eastwest-proxy"
	refusedReason = "RefusedByKernel" // of events
	takenReason   = "NodePortTaken"
	// uncheckableReason is kube-proxy's.
	uncheckableReason = "FailedToStartServiceHealthcheck"
	askTimeout        = 10 * time.Second
)

// refused tells people of a Service that this node cannot serve.
func (n *Network) refused(row table.Service, reason error) {
	n.config.Log.Error("the kernel refuses a service; others go on", "service", row.Key(), "err", reason)
	n.tell(row, refusedReason, fmt.Sprintf("Node %s does not serve this Service: %v", n.config.NodeName, reason))
}

// taken tells people of a node port at which a process of this node listens.
func (n *Network) taken(row table.Service, f table.Frontend) {
	owners := "a process" // who it is cannot always be told
	_ = inNetns(n.config.Netns, func() error {
		if list := socketowner.Of(f.Protocol.String(), netip.AddrPortFrom(f.Addr, f.Port)); len(list) > 0 {
			owners = fmt.Sprint(list[0])
		}
		return nil
	})
	n.config.Log.Warn("a node port is also a process's, which no longer hears from anybody", "service", row.Key(), "port", f.Port, "protocol", f.Protocol, "process", owners)
	n.tell(row, takenReason, fmt.Sprintf("On node %s %s listens at node port %d/%s, which this Service has: use another port for one of the two",
		n.config.NodeName, owners, f.Port, f.Protocol))
}

// uncheckable tells people of a health check port that cannot be opened.
func (n *Network) uncheckable(row table.Service, reason error) {
	n.tell(row, uncheckableReason, fmt.Sprintf("Node %s does not answer load balancers: %v", n.config.NodeName, reason))
}

// tell sends an event that `kubectl describe service` shows.
func (n *Network) tell(row table.Service, reason, text string) {
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
		defer cancel()
		// Proxies may list services, and not get one.
		var list corev1.ServiceList
		err := n.config.Client.Core().Get().Namespace(row.Object.Namespace).Resource("services").
			Param("fieldSelector", fields.OneTermEqualSelector("metadata.name", row.Object.Name).String()).Do(ctx).Into(&list)
		for i := range list.Items {
			if list.Items[i].Name == row.Object.Name {
				n.events.Service(&list.Items[i], corev1.EventTypeWarning, reason, "%s", text)
			}
		}
		if err != nil {
			n.config.Log.Warn("no event of a service", "service", row.Key(), "reason", reason, "err", err)
		}
	}()
}

// sendEvents sends what was recorded until ctx ends.
func (n *Network) sendEvents(ctx context.Context) error {
	n.events.Run(ctx)
	return ctx.Err()
}
