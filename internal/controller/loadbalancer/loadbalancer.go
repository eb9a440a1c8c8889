// SPDX-License-Identifier: Apache-2.0

// Package loadbalancer gives Services of type LoadBalancer addresses from a pool. The Service's status is the record of
// what is taken, so that nothing else has to be kept, and nothing is lost with a server. Nodes announce the addresses
// (internal/dataplane/announce).
package loadbalancer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	coreinformers "k8s.io/client-go/informers/core/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"eastwest/internal/addressplan"
)

// retry is the pause after a failure, and after a status that no watch has brought back yet.
const retry = 500 * time.Millisecond

// Config is what the controller needs.
type Config struct {
	Client   corev1client.ServicesGetter
	Services coreinformers.ServiceInformer
	Pool     []addressplan.Range // no two overlap
	Events   record.EventRecorder
	Log      *slog.Logger
}

type controller struct {
	Config
	services corelisters.ServiceLister
	synced   cache.InformerSynced
	changed  chan struct{}
	told     map[types.UID]string // the last complaint about a Service, so that each is told once
	written  map[types.UID]written
}

// written is a status that the watch may not have brought back yet. Without it, an address could be given twice.
type written struct {
	over string // the resource version that it was written over
	now  *corev1.Service
}

// New returns the controller's loop.
func New(config Config) (func(context.Context), error) {
	c := &controller{Config: config, services: config.Services.Lister(), changed: make(chan struct{}, 1), written: map[types.UID]written{}}
	poke := func(object any) {
		if !concerns(object) {
			return
		}
		select {
		case c.changed <- struct{}{}:
		default:
		}
	}
	registration, err := config.Services.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: poke, DeleteFunc: poke, UpdateFunc: func(old, object any) { poke(old); poke(object) },
	})
	if err != nil {
		return nil, fmt.Errorf("watch services: %w", err)
	}
	c.synced = registration.HasSynced
	return c.run, nil
}

func (c *controller) run(ctx context.Context) {
	if !cache.WaitForCacheSync(ctx.Done(), c.synced) {
		return
	}
	for {
		var again <-chan time.Time
		if err := c.sync(ctx); err != nil && ctx.Err() == nil {
			c.Log.WarnContext(ctx, "give addresses to load balancers; trying again", "err", err)
			again = time.After(retry)
		}
		select {
		case <-ctx.Done():
			return
		case <-c.changed:
		case <-again:
		}
	}
}

// concerns reports whether a Service has or may want an address: of thousands, few do.
func concerns(object any) bool {
	service, ok := object.(*corev1.Service)
	return !ok || service.Spec.Type == corev1.ServiceTypeLoadBalancer || had(service)
}

// sync looks at all Services at once: an address that one gives back is another's that waits.
func (c *controller) sync(ctx context.Context) error {
	all, err := c.list()
	if err != nil {
		return err
	}
	var errs []error
	complaints := map[types.UID]string{}
	for _, a := range assign(all, c.Pool) {
		if a.err != nil {
			complaints[a.service.UID] = a.err.Error()
			if c.told[a.service.UID] != a.err.Error() {
				c.Events.Eventf(a.service, corev1.EventTypeWarning, "SyncLoadBalancerFailed", "Error syncing load balancer: %v", a.err)
			}
		}
		errs = append(errs, c.write(ctx, a))
	}
	c.told = complaints
	return errors.Join(errs...)
}

// list returns the Services that matter here as they were last seen, by the watch or in the answer to a write.
func (c *controller) list() ([]*corev1.Service, error) {
	all, err := c.services.List(labels.Everything())
	if err != nil {
		return nil, fmt.Errorf("list services: %w", err)
	}
	all = slices.DeleteFunc(all, func(s *corev1.Service) bool { return !concerns(s) })
	ahead := map[types.UID]written{}
	for i, service := range all {
		if w, ok := c.written[service.UID]; ok && w.over == service.ResourceVersion {
			ahead[service.UID] = w
			all[i] = w.now
		}
	}
	c.written = ahead
	return all, nil
}

// write makes a Service's status say what was assigned. The API server refuses it when the Service has changed since it
// was looked at.
func (c *controller) write(ctx context.Context, a assignment) error {
	if slices.Equal(held(a.service), a.addresses) && had(a.service) == (len(a.addresses) > 0) {
		return nil
	}
	// A Service that has nothing and gets nothing may have addresses of somebody else, who will take them away.
	if len(a.addresses) == 0 && !had(a.service) {
		return nil
	}
	service := a.service.DeepCopy()
	service.Status.LoadBalancer = corev1.LoadBalancerStatus{Ingress: ingress(a.addresses)}
	meta.RemoveStatusCondition(&service.Status.Conditions, Condition)
	if len(a.addresses) > 0 {
		meta.SetStatusCondition(&service.Status.Conditions, metav1.Condition{
			Type: Condition, Status: metav1.ConditionTrue, Reason: "Assigned", ObservedGeneration: service.Generation,
			Message: "the server's pool gave the addresses in loadBalancer.ingress, which nodes announce",
		})
	}
	now, err := c.Client.Services(service.Namespace).UpdateStatus(ctx, service, metav1.UpdateOptions{})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil // the watch brings what it is now
	}
	if err != nil {
		return fmt.Errorf("write status of Service %s/%s: %w", service.Namespace, service.Name, err)
	}
	c.written[service.UID] = written{over: a.service.ResourceVersion, now: now}
	if len(a.addresses) > 0 {
		c.Events.Event(service, corev1.EventTypeNormal, "EnsuredLoadBalancer", "Ensured load balancer")
	} else {
		c.Events.Event(service, corev1.EventTypeNormal, "DeletedLoadBalancer", "Deleted load balancer")
	}
	return nil
}

func ingress(addresses []netip.Addr) []corev1.LoadBalancerIngress {
	mode := corev1.LoadBalancerIPModeVIP
	var out []corev1.LoadBalancerIngress
	for _, address := range addresses {
		out = append(out, corev1.LoadBalancerIngress{IP: address.String(), IPMode: &mode})
	}
	return out
}
