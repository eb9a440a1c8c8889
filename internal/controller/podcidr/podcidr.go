// SPDX-License-Identifier: Apache-2.0

// Package podcidr gives every Node its pod CIDRs: the lowest free subnet of each cluster CIDR. A Node's CIDRs, once set,
// never change (the API forbids it), so the Nodes themselves are the record of what is taken.
package podcidr

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	coreinformers "k8s.io/client-go/informers/core/v1"
	coreclient "k8s.io/client-go/kubernetes/typed/core/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
)

// Config says what is shared out.
type Config struct {
	Client       coreclient.NodeInterface
	Nodes        coreinformers.NodeInformer
	ClusterCIDRs []netip.Prefix
	BitsIPv4     int // length of a node's CIDR
	BitsIPv6     int
	Log          *slog.Logger
}

type controller struct {
	client coreclient.NodeInterface
	lister corelisters.NodeLister
	synced cache.InformerSynced
	queue  workqueue.TypedRateLimitingInterface[string]
	ranges []*subnets // used by the one worker alone
	log    *slog.Logger
}

// New returns the controller's loop. It fails when a length does not fit its range.
func New(config Config) (func(context.Context), error) {
	c := &controller{
		client: config.Client, lister: config.Nodes.Lister(), log: config.Log,
		queue: workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[string]()),
	}
	for _, cidr := range config.ClusterCIDRs {
		bits := config.BitsIPv4
		if cidr.Addr().Is6() {
			bits = config.BitsIPv6
		}
		share, err := newSubnets(cidr, bits)
		if err != nil {
			return nil, err
		}
		c.ranges = append(c.ranges, share)
	}
	enqueue := func(object any) {
		if key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(object); err == nil {
			c.queue.Add(key)
		}
	}
	registration, err := config.Nodes.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: enqueue, UpdateFunc: func(_, object any) { enqueue(object) }, DeleteFunc: enqueue,
	})
	if err != nil {
		return nil, fmt.Errorf("watch nodes: %w", err)
	}
	c.synced = registration.HasSynced
	return c.run, nil
}

func (c *controller) run(ctx context.Context) {
	defer c.queue.ShutDown()
	if !cache.WaitForCacheSync(ctx.Done(), c.synced) {
		return
	}
	// What nodes have must be known before anything is given: the queue holds them in no order.
	c.holdAll(ctx)
	context.AfterFunc(ctx, c.queue.ShutDown)
	for {
		name, stop := c.queue.Get()
		if stop {
			return
		}
		if err := c.sync(ctx, name); err != nil {
			c.log.WarnContext(ctx, "give pod CIDRs; trying again", "node", name, "err", err)
			c.queue.AddRateLimited(name)
		} else {
			c.queue.Forget(name)
		}
		c.queue.Done(name)
	}
}

func (c *controller) holdAll(ctx context.Context) {
	nodes, err := c.lister.List(labels.Everything())
	if err != nil {
		c.log.ErrorContext(ctx, "list nodes", "err", err)
	}
	for _, node := range nodes {
		c.hold(ctx, node)
	}
}

// hold notes what a node has, and says so when two nodes have the same.
func (c *controller) hold(ctx context.Context, node *corev1.Node) {
	for _, text := range node.Spec.PodCIDRs {
		subnet, err := netip.ParsePrefix(text)
		if err != nil {
			continue
		}
		for _, share := range c.ranges {
			if !share.within.Overlaps(subnet) {
				continue
			}
			if other := share.hold(subnet, node.Name); other != "" {
				c.log.ErrorContext(ctx, "two nodes have one pod CIDR; delete and re-register one of them", "cidr", text, "node", node.Name, "other", other)
			}
		}
	}
}

func (c *controller) sync(ctx context.Context, name string) error {
	node, err := c.lister.Get(name)
	if err != nil {
		for _, share := range c.ranges {
			share.free(name)
		}
		return nil
	}
	if len(node.Spec.PodCIDRs) > 0 {
		c.hold(ctx, node)
		return nil
	}
	return c.give(ctx, node)
}

// give takes one subnet of each range and writes them to the Node; when the write fails they are free again.
func (c *controller) give(ctx context.Context, node *corev1.Node) error {
	var cidrs []string
	for _, share := range c.ranges {
		share.free(node.Name)
		subnet, err := share.next(node.Name)
		if err != nil {
			return err
		}
		cidrs = append(cidrs, subnet.String())
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": node.UID},
		"spec":     map[string]any{"podCIDR": cidrs[0], "podCIDRs": cidrs},
	})
	if err != nil {
		return fmt.Errorf("encode pod CIDRs of node %s: %w", node.Name, err)
	}
	if _, err := c.client.Patch(ctx, node.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}); err != nil {
		for _, share := range c.ranges {
			share.free(node.Name)
		}
		return fmt.Errorf("write pod CIDRs of node %s: %w", node.Name, err)
	}
	c.log.InfoContext(ctx, "gave pod CIDRs", "node", node.Name, "cidrs", cidrs)
	return nil
}
