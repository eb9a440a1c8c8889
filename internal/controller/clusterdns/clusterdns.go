// SPDX-License-Identifier: Apache-2.0

// Package clusterdns keeps the Service kube-system/kube-dns and its EndpointSlices. The cluster's DNS is served by the
// agent of every node, not by pods, so the endpoints are the nodes: ready while the Node is Ready.
package clusterdns

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
)

// The name under which clients and charts expect the cluster's DNS.
const (
	Namespace = metav1.NamespaceSystem
	Name      = "kube-dns"
)

// Ports on which an agent serves DNS and its metrics at the node's addresses. The DNS port is not 53, which a resolver
// of the machine itself may hold.
const (
	AgentPort   = 10053
	MetricsPort = 9153
)

// managedBy marks our EndpointSlices; Kubernetes' controllers leave slices of others alone.
const managedBy = "cluster-dns.eastwest"

// retry is the pause after a failure.
const retry = 500 * time.Millisecond

type controller struct {
	client    kubernetes.Interface
	nodes     corelisters.NodeLister
	synced    cache.InformerSynced
	changed   chan struct{}
	addresses []netip.Addr
	log       *slog.Logger
}

// New returns the controller's loop. addresses are the virtual IPs of the Service, one a family, the primary first.
func New(client kubernetes.Interface, nodes coreinformers.NodeInformer, addresses []netip.Addr, log *slog.Logger) (func(context.Context), error) {
	c := &controller{client: client, nodes: nodes.Lister(), addresses: addresses, log: log, changed: make(chan struct{}, 1)}
	poke := func(any) {
		select {
		case c.changed <- struct{}{}:
		default:
		}
	}
	registration, err := nodes.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: poke, DeleteFunc: poke,
		UpdateFunc: func(old, object any) {
			if !equality.Semantic.DeepEqual(endpointOf(old), endpointOf(object)) {
				poke(object)
			}
		},
	})
	if err != nil {
		return nil, fmt.Errorf("watch nodes: %w", err)
	}
	c.synced = registration.HasSynced
	return c.run, nil
}

func (c *controller) run(ctx context.Context) {
	if !cache.WaitForCacheSync(ctx.Done(), c.synced) {
		return
	}
	for {
		wait := time.Minute // mends what others changed
		if err := c.sync(ctx); err != nil && ctx.Err() == nil {
			c.log.WarnContext(ctx, "keep the DNS Service; trying again", "err", err)
			wait = retry
		}
		select {
		case <-ctx.Done():
			return
		case <-c.changed:
		case <-time.After(wait):
		}
	}
}

func (c *controller) sync(ctx context.Context) error {
	services := c.client.CoreV1().Services(Namespace)
	service, err := services.Get(ctx, Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		service, err = services.Create(ctx, c.service(), metav1.CreateOptions{})
	}
	if err != nil {
		return fmt.Errorf("make Service %s/%s: %w", Namespace, Name, err)
	}
	for _, address := range c.addresses {
		if err := c.syncSlice(ctx, service, address.Is4()); err != nil {
			return err
		}
	}
	return nil
}

func (c *controller) service() *corev1.Service {
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: Namespace, Name: Name,
			Labels: map[string]string{"k8s-app": Name, "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS"},
		},
		Spec: corev1.ServiceSpec{
			ClusterIP: c.addresses[0].String(),
			Ports: []corev1.ServicePort{
				{Name: "dns", Protocol: corev1.ProtocolUDP, Port: 53},
				{Name: "dns-tcp", Protocol: corev1.ProtocolTCP, Port: 53},
				{Name: "metrics", Protocol: corev1.ProtocolTCP, Port: MetricsPort},
			},
		},
	}
	policy := corev1.IPFamilyPolicySingleStack
	if len(c.addresses) > 1 {
		policy = corev1.IPFamilyPolicyRequireDualStack
	}
	service.Spec.IPFamilyPolicy = &policy
	for _, address := range c.addresses {
		service.Spec.ClusterIPs = append(service.Spec.ClusterIPs, address.String())
		service.Spec.IPFamilies = append(service.Spec.IPFamilies, familyOf(address.Is4()))
	}
	return service
}

func familyOf(is4 bool) corev1.IPFamily {
	if is4 {
		return corev1.IPv4Protocol
	}
	return corev1.IPv6Protocol
}

func (c *controller) syncSlice(ctx context.Context, service *corev1.Service, is4 bool) error {
	nodes, err := c.nodes.List(labels.Everything())
	if err != nil {
		return fmt.Errorf("list nodes: %w", err)
	}
	want := slice(service, nodes, is4)
	slices := c.client.DiscoveryV1().EndpointSlices(Namespace)
	have, err := slices.Get(ctx, want.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		_, err = slices.Create(ctx, want, metav1.CreateOptions{})
	case err == nil && have.AddressType != want.AddressType:
		return fmt.Errorf("EndpointSlice %s/%s is of type %s, expected %s: delete it", Namespace, want.Name, have.AddressType, want.AddressType)
	case err == nil && !equality.Semantic.DeepEqual([]any{have.Endpoints, have.Ports, have.Labels}, []any{want.Endpoints, want.Ports, want.Labels}):
		want.ResourceVersion = have.ResourceVersion
		_, err = slices.Update(ctx, want, metav1.UpdateOptions{})
	}
	if err != nil {
		return fmt.Errorf("write EndpointSlice %s/%s: %w", Namespace, want.Name, err)
	}
	return nil
}
