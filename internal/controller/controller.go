// SPDX-License-Identifier: Apache-2.0

// Package controller runs the loops that turn what people ask for into what is: Kubernetes' own for workloads,
// namespaces, accounts, certificates and placement, and ours for what is the network's: pod CIDRs (podcidr), the cluster's
// DNS Service (clusterdns) and the serving certificates of nodes (nodecerts).
//
// All of them share one client, one set of informers and one process. The list is in list.go.
package controller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/controller-manager/pkg/informerfactory"

	"eastwest/internal/addressplan"
	"eastwest/internal/join"
	"eastwest/internal/pki"
)

// Config says what the controllers need to know of the cluster.
type Config struct {
	Client       *rest.Config // may do everything; the loopback of the API server
	ClusterCIDRs []netip.Prefix
	NodeCIDRBits NodeCIDRBits
	DNSAddresses []netip.Addr // virtual IPs of kube-system/kube-dns, one a family

	// LoadBalancers are the addresses for Services of type LoadBalancer; none leaves them to somebody else. No two overlap.
	LoadBalancers []addressplan.Range

	Authority pki.Pair   // signs the certificates of nodes
	RootCA    []byte     // PEM, published to every namespace as kube-root-ca.crt
	Token     join.Token // with which nodes may join

	// ServiceAccountKey is the file of the private key that signs the tokens of Secrets.
	ServiceAccountKey string
	Log               *slog.Logger

	// Controllers says which of them run; all when empty. Others that do the same for the cluster must run elsewhere.
	Controllers Selection

	// Elect has them run only while this process holds the Lease kube-system/eastwest-controllers, because other servers of
	// the cluster run them as well.
	Elect bool

	// Informers run already, in the API server of this process, and are used rather than others of the same kinds; nil
	// where there are none. They must run as long as Run.
	Informers informers.SharedInformerFactory
}

// NodeCIDRBits are the lengths of a node's pod CIDRs.
type NodeCIDRBits struct{ IPv4, IPv6 int }

// shared is what the controllers have in common.
type shared struct {
	Config
	client    kubernetes.Interface
	informers informers.SharedInformerFactory
	metadata  metadata.Interface
	objects   informerfactory.InformerFactory
	mapper    meta.ResettableRESTMapper
	started   chan struct{} // closed when the informers run
}

func newShared(ctx context.Context, config Config) (*shared, error) {
	client, err := kubernetes.NewForConfig(withBudget(config.Client))
	if err != nil {
		return nil, fmt.Errorf("make controllers' client: %w", err)
	}
	objects, err := metadata.NewForConfig(withBudget(config.Client))
	if err != nil {
		return nil, fmt.Errorf("make controllers' metadata client: %w", err)
	}
	s := &shared{Config: config, client: client, metadata: objects, started: make(chan struct{})}
	s.informers = newInformers(ctx, client, config.Informers, s.started)
	s.objects = informerfactory.NewInformerFactory(s.informers, metadatainformer.NewSharedInformerFactory(objects, 0))
	s.mapper = restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(client.Discovery()))
	return s, nil
}

// withBudget lifts the client's own rate limit: the server next door limits what is too much for it.
func withBudget(config *rest.Config) *rest.Config {
	config = rest.CopyConfig(config)
	config.QPS = -1
	return config
}

// Run runs the controllers until ctx ends. The API server must serve already.
func Run(ctx context.Context, config Config) error {
	if !config.Elect {
		return lead(ctx, config)
	}
	client, err := kubernetes.NewForConfig(config.Client)
	if err != nil {
		return fmt.Errorf("make client for the election of a leader: %w", err)
	}
	return elected(ctx, client, func(ctx context.Context) error { return lead(ctx, config) })
}

func lead(ctx context.Context, config Config) error {
	s, err := newShared(ctx, config)
	if err != nil {
		return err
	}
	loops, err := s.build(ctx)
	if err != nil {
		return err
	}
	s.informers.Start(ctx.Done())
	s.objects.Start(ctx.Done())
	close(s.started)
	var running sync.WaitGroup
	for _, run := range loops {
		running.Go(func() { run(ctx) })
	}
	<-ctx.Done()
	s.informers.Shutdown()
	running.Wait()
	return nil
}

// build makes every controller of the list, before any informer runs, so that each has its handlers in place.
func (s *shared) build(ctx context.Context) ([]func(context.Context), error) {
	var loops []func(context.Context)
	var errs []error
	for _, entry := range list() {
		if !s.Controllers.has(entry.name) {
			continue
		}
		run, err := entry.build(ctx, s)
		if err != nil {
			errs = append(errs, fmt.Errorf("make controller %s: %w", entry.name, err))
			continue
		}
		loops = append(loops, run)
	}
	return loops, errors.Join(errs...)
}
