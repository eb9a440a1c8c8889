// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
)

// How often the node is examined before it was ready for the first time, and after; how often an unchanged status is written
// all the same.
const (
	startPeriod  = 100 * time.Millisecond
	lookPeriod   = 5 * time.Second
	reportPeriod = 5 * time.Minute
	writeTimeout = 10 * time.Second
	readTimeout  = 3 * time.Second
	// settlePeriod is for how long after its own start the kubelet does not report that a node is not ready which was ready
	// before: its runtime starts as well, and what runs on the node need not lose its traffic for that.
	settlePeriod = 10 * time.Second
)

// keepStatus examines the node, and writes when something changed.
func (r *Reporter) keepStatus(ctx context.Context) {
	var written time.Time
	r.config.Events.Node(corev1.EventTypeNormal, "Starting", "Starting kubelet.")
	r.recall(ctx)
	settled := time.Now().Add(settlePeriod)
	for ctx.Err() == nil {
		conditions := r.conditions(ctx)
		settling := time.Now().Before(settled) && r.wasReady() && !isReady(conditions) && !r.config.ShuttingDown()
		offered := r.look(ctx)
		if !settling && (r.differs(conditions) || !offered.equal(r.told) || r.identity() == "" || time.Since(written) > reportPeriod) {
			if err := r.write(ctx, conditions); err != nil {
				if ctx.Err() == nil {
					r.config.Log.Warn("node status not stored, will retry", "node", r.config.Name, "error", err)
				}
			} else {
				written = time.Now()
				r.told = offered
				r.remember(conditions)
			}
		}
		wait := lookPeriod
		if !isReady(conditions) || written.IsZero() {
			wait = startPeriod
		}
		select {
		case <-ctx.Done():
		case <-r.again:
		case <-time.After(wait):
		}
	}
}

// recall takes what the API server knows of a node that was there before as the last look at it.
func (r *Reporter) recall(ctx context.Context) {
	for ctx.Err() == nil {
		node := &corev1.Node{}
		err := r.config.Client.Core().Get().Resource("nodes").Name(r.config.Name).Do(ctx).Into(node)
		if err == nil {
			r.mu.Lock()
			r.last = node.Status.Conditions
			r.mu.Unlock()
		}
		if err == nil || apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
			return
		}
		r.config.Log.Debug("node not read, will retry", "node", r.config.Name, "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(startPeriod):
		}
	}
}

func (r *Reporter) wasReady() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return isReady(r.last)
}

func isReady(conditions []corev1.NodeCondition) bool {
	for _, c := range conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func (r *Reporter) differs(conditions []corev1.NodeCondition) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.last) != len(conditions) {
		return true
	}
	for i, c := range conditions {
		if last := r.last[i]; last.Status != c.Status || last.Reason != c.Reason || last.Message != c.Message {
			return true
		}
	}
	return false
}

func (r *Reporter) remember(conditions []corev1.NodeCondition) {
	r.mu.Lock()
	before := isReady(r.last)
	r.last = conditions
	r.mu.Unlock()
	switch after := isReady(conditions); {
	case after && !before:
		r.config.Events.Node(corev1.EventTypeNormal, "NodeReady", "Node %s status is now: NodeReady", r.config.Name)
	case before && !after:
		r.config.Events.Node(corev1.EventTypeNormal, "NodeNotReady", "Node %s status is now: NodeNotReady", r.config.Name)
	}
}

// declared are the features that the API server asks a node for before it lets pods on it use them.
var declared = []string{"InPlacePodVerticalScalingInitContainers"}

func (r *Reporter) status(conditions []corev1.NodeCondition) corev1.NodeStatus {
	s := corev1.NodeStatus{
		Capacity: r.Capacity(), Allocatable: r.Allocatable(), Conditions: conditions, NodeInfo: r.info(),
		DaemonEndpoints:  corev1.NodeDaemonEndpoints{KubeletEndpoint: corev1.DaemonEndpoint{Port: r.config.Port}},
		DeclaredFeatures: declared,
	}
	r.mu.Lock()
	s.Images, s.RuntimeHandlers, s.Features = r.offer.images, r.offer.handlers, r.offer.features
	r.mu.Unlock()
	for _, ip := range r.config.IPs {
		s.Addresses = append(s.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: ip.String()})
	}
	s.Addresses = append(s.Addresses, corev1.NodeAddress{Type: corev1.NodeHostName, Address: r.config.Name})
	return s
}

func (r *Reporter) write(ctx context.Context, conditions []corev1.NodeCondition) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	status := r.status(conditions)
	if r.identity() == "" {
		if err := r.register(ctx, status); err != nil {
			return err
		}
	}
	err := r.patch(ctx, status)
	if apierrors.IsNotFound(err) {
		r.mu.Lock()
		r.uid = ""
		r.mu.Unlock()
	}
	return err
}

// patch replaces addresses as a whole: two of one type cannot be merged by type.
func (r *Reporter) patch(ctx context.Context, status corev1.NodeStatus) error {
	addresses := []any{map[string]any{"$patch": "replace"}}
	for _, a := range status.Addresses {
		addresses = append(addresses, a)
	}
	body, err := json.Marshal(map[string]any{"status": map[string]any{
		"capacity": status.Capacity, "allocatable": status.Allocatable, "conditions": status.Conditions,
		"nodeInfo": status.NodeInfo, "daemonEndpoints": status.DaemonEndpoints, "addresses": addresses,
		"images": status.Images, "runtimeHandlers": status.RuntimeHandlers, "features": status.Features,
	}})
	if err != nil {
		return fmt.Errorf("encode the status of node %s: %w", r.config.Name, err)
	}
	err = r.config.Client.Core().Patch(types.StrategicMergePatchType).Resource("nodes").Name(r.config.Name).
		SubResource("status").Body(body).Do(ctx).Error()
	if err != nil {
		return fmt.Errorf("patch the status of node %s: %w", r.config.Name, err)
	}
	return nil
}

// Flush stores the node's status as it is now. The node's end does not wait long for that.
func (r *Reporter) Flush(ctx context.Context) {
	conditions := r.conditions(ctx)
	if !r.differs(conditions) {
		return
	}
	if err := r.write(ctx, conditions); err != nil {
		r.config.Log.Warn("last node status not stored", "node", r.config.Name, "error", err)
		return
	}
	r.remember(conditions)
}
