// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"

	"eastwest/internal/table"
)

const (
	eventSource   = "eastwest-proxy"
	refusedReason = "RefusedByKernel" // of events
	askTimeout    = 10 * time.Second
)

// refused tells people of a Service that this node cannot serve, in the log and where `kubectl describe service` shows it.
func (n *Network) refused(row table.Service, reason error) {
	n.config.Log.Error("the kernel refuses a service; others go on", "service", row.Key(), "err", reason)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
		defer cancel()
		// Proxies may list services, and not get one.
		var list corev1.ServiceList
		err := n.config.Client.Core().Get().Namespace(row.Object.Namespace).Resource("services").
			Param("fieldSelector", fields.OneTermEqualSelector("metadata.name", row.Object.Name).String()).Do(ctx).Into(&list)
		for i := range list.Items {
			if list.Items[i].Name == row.Object.Name {
				n.events.Service(&list.Items[i], corev1.EventTypeWarning, refusedReason,
					"Node %s does not serve this Service: %v", n.config.NodeName, reason)
			}
		}
		if err != nil {
			n.config.Log.Warn("no event of a refused service", "service", row.Key(), "err", err)
		}
	}()
}

// sendEvents sends what was recorded until ctx ends.
func (n *Network) sendEvents(ctx context.Context) error {
	n.events.Run(ctx)
	return ctx.Err()
}
