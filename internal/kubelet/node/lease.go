// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The heartbeat, as Kubernetes' node controller expects it.
const (
	leasePeriod   = 10 * time.Second
	leaseDuration = int32(40) // seconds
	leaseRetry    = 200 * time.Millisecond
)

func (r *Reporter) keepLease(ctx context.Context) {
	var lease *coordinationv1.Lease
	for ctx.Err() == nil {
		wait := leasePeriod
		renewed, err := r.renew(ctx, lease)
		if err != nil {
			renewed, wait = nil, min(leaseRetry*5, leasePeriod)
			if lease == nil {
				wait = leaseRetry
			}
			if ctx.Err() == nil {
				r.config.Log.Debug("node lease not renewed, will retry", "node", r.config.Name, "error", err)
			}
		}
		lease = renewed
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// renew writes the lease. last is what the API answered the time before; without it, the lease is read or made first.
func (r *Reporter) renew(ctx context.Context, last *coordinationv1.Lease) (*coordinationv1.Lease, error) {
	ctx, cancel := context.WithTimeout(ctx, leasePeriod)
	defer cancel()
	leases, answer := r.config.Client.Coordination(), &coordinationv1.Lease{}
	if last == nil {
		err := leases.Get().Namespace(corev1.NamespaceNodeLease).Resource("leases").Name(r.config.Name).Do(ctx).Into(answer)
		if apierrors.IsNotFound(err) {
			lease := &coordinationv1.Lease{}
			lease.Name, lease.Namespace = r.config.Name, corev1.NamespaceNodeLease
			r.fill(lease)
			err = leases.Post().Namespace(lease.Namespace).Resource("leases").Body(lease).Do(ctx).Into(answer)
			return answer, wrap(err, "make", r.config.Name)
		}
		if err != nil {
			return nil, wrap(err, "read", r.config.Name)
		}
		last = answer
	}
	lease := last.DeepCopy()
	r.fill(lease)
	answer = &coordinationv1.Lease{}
	err := leases.Put().Namespace(lease.Namespace).Resource("leases").Name(lease.Name).Body(lease).Do(ctx).Into(answer)
	return answer, wrap(err, "renew", r.config.Name)
}

func wrap(err error, verb, name string) error {
	if err != nil {
		return fmt.Errorf("%s the lease of node %s: %w", verb, name, err)
	}
	return nil
}

func (r *Reporter) fill(lease *coordinationv1.Lease) {
	now, duration := metav1.NewMicroTime(time.Now()), leaseDuration
	lease.Spec.HolderIdentity, lease.Spec.LeaseDurationSeconds, lease.Spec.RenewTime = &r.config.Name, &duration, &now
	if uid := r.identity(); uid != "" {
		lease.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: r.config.Name, UID: uid}}
	}
}
