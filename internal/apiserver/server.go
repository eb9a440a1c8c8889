// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"fmt"
	"maps"
	"net/url"

	apiextensionsserver "k8s.io/apiextensions-apiserver/pkg/apiserver"
	extensionsopenapi "k8s.io/apiextensions-apiserver/pkg/generated/openapi"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	genericfilters "k8s.io/apiserver/pkg/endpoints/filters"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/util/notfoundhandler"
	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/rest"
	aggregator "k8s.io/kube-aggregator/pkg/apiserver"
	aggregatorscheme "k8s.io/kube-aggregator/pkg/apiserver/scheme"
	aggregatoropenapi "k8s.io/kube-aggregator/pkg/generated/openapi"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/capabilities"
	controlplaneapiserver "k8s.io/kubernetes/pkg/controlplane/apiserver"
	"k8s.io/kubernetes/pkg/controlplane/apiserver/options"
	kubeadmission "k8s.io/kubernetes/pkg/kubeapiserver/admission"
)

// Server is an assembled API server.
type Server struct {
	chain     *aggregator.APIAggregator
	loopback  *rest.Config
	informers informers.SharedInformerFactory
	direct    *direct
	serving   chan struct{}
}

// New assembles a server; Run serves. New connects to etcd.
func New(ctx context.Context, config Config) (*Server, error) {
	if err := config.validate(); err != nil {
		return nil, fmt.Errorf("configure API server: %w", err)
	}
	completed, err := config.completeOptions(ctx)
	if err != nil {
		return nil, err
	}
	capabilities.Setup(true, 0)
	direct := newDirect(config.EtcdHere, completed.Etcd.StorageConfig)
	server, err := assemble(config, completed, direct)
	if err != nil {
		direct.close()
		return nil, err
	}
	return server, nil
}

func assemble(config Config, completed options.CompletedOptions, direct *direct) (*Server, error) {
	own := newInProcess()
	generic, err := newParts(config, completed, direct, own)
	if err != nil {
		return nil, err
	}
	chain, err := generic.chain()
	if err != nil {
		return nil, err
	}
	own.serve(chain.GenericAPIServer.Handler)
	s := &Server{
		chain: chain, loopback: generic.native.Generic.LoopbackClientConfig, informers: generic.native.VersionedInformers,
		direct: direct, serving: make(chan struct{}),
	}
	err = chain.GenericAPIServer.AddPostStartHook("eastwest-serving", func(hook genericapiserver.PostStartHookContext) error {
		// Kubernetes' own hook does the same, before or after this one.
		s.informers.Start(hook.Done())
		close(s.serving)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("add start hook: %w", err)
	}
	return s, nil
}

// Serving is closed once the server accepts requests; its first objects may still be in the making.
func (s *Server) Serving() <-chan struct{} { return s.serving }

// Loopback returns the configuration of a client that may do everything, for the controllers in this process. It works
// once Run serves, and must not leave the process.
func (s *Server) Loopback() *rest.Config { return rest.CopyConfig(s.loopback) }

// Informers returns the informers that this server has for itself, which drop managed fields and, once Serving is closed,
// run as long as Run. They are read only: what a caller starts or adds, it adds to the server's own.
func (s *Server) Informers() informers.SharedInformerFactory { return s.informers }

// Run serves until ctx ends, then lets requests under way finish.
func (s *Server) Run(ctx context.Context) error {
	defer s.direct.close()
	prepared, err := s.chain.PrepareRun()
	if err != nil {
		return fmt.Errorf("prepare API server: %w", err)
	}
	if err := prepared.Run(ctx); err != nil {
		return fmt.Errorf("run API server: %w", err)
	}
	return nil
}

// parts are the three servers before they are chained.
type parts struct {
	config     Config
	native     *controlplaneapiserver.Config
	extensions *apiextensionsserver.Config
	aggregator *aggregator.Config
}

func newParts(config Config, completed options.CompletedOptions, direct *direct, own *inProcess) (*parts, error) {
	schemes := []*runtime.Scheme{legacyscheme.Scheme, apiextensionsserver.Scheme, aggregatorscheme.Scheme}
	generic, err := newCommon(config, completed, own, schemes)
	if err != nil {
		return nil, fmt.Errorf("configure API server: %w", err)
	}
	generic.RESTOptionsGetter = direct.wrap(generic.RESTOptionsGetter)
	initializers, err := (&kubeadmission.Config{}).New()
	if err != nil {
		return nil, fmt.Errorf("configure admission: %w", err)
	}
	loopback, err := url.Parse(generic.LoopbackClientConfig.Host)
	if err != nil {
		return nil, fmt.Errorf("read loopback address: %w", err)
	}
	resolver := aggregator.NewLoopbackServiceResolver(
		aggregator.NewClusterIPServiceResolver(generic.informers.Core().V1().Services().Lister()), loopback)
	native, all, err := controlplaneapiserver.CreateConfig(completed, generic.Config, generic.informers, generic.storage, resolver, initializers)
	if err != nil {
		return nil, fmt.Errorf("configure native API: %w", err)
	}
	p := &parts{config: config, native: native}
	if err := p.around(completed, resolver, all); err != nil {
		return nil, err
	}
	// Webhooks have the way over TLS by now; whatever else this process asks of itself needs none.
	inside := own.config(native.Generic.LoopbackClientConfig)
	native.Generic.LoopbackClientConfig, p.extensions.GenericConfig.LoopbackClientConfig = inside, inside
	p.aggregator.GenericConfig.LoopbackClientConfig = inside
	describeOnly(&p.extensions.GenericConfig.Config, extensionsopenapi.GetOpenAPIDefinitions)
	describeOnly(&p.aggregator.GenericConfig.Config, aggregatoropenapi.GetOpenAPIDefinitions)
	p.extensions.ExtraConfig.CRDRESTOptionsGetter = direct.wrap(p.extensions.ExtraConfig.CRDRESTOptionsGetter)
	p.extensions.GenericConfig.RESTOptionsGetter = direct.wrap(p.extensions.GenericConfig.RESTOptionsGetter)
	p.aggregator.GenericConfig.RESTOptionsGetter = direct.wrap(p.aggregator.GenericConfig.RESTOptionsGetter)
	return p, nil
}

// around makes the servers on both sides of the native one: custom resources behind it, aggregation before it.
func (p *parts) around(completed options.CompletedOptions, resolver webhook.ServiceResolver, plugins []admission.PluginInitializer) error {
	var err error
	auth := webhook.NewDefaultAuthenticationInfoResolverWrapper(p.native.ProxyTransport, p.native.Generic.EgressSelector,
		p.native.Generic.LoopbackClientConfig, p.native.Generic.TracerProvider)
	p.extensions, err = controlplaneapiserver.CreateAPIExtensionsConfig(*p.native.Generic, p.native.VersionedInformers,
		plugins, completed, 1, resolver, auth)
	if err != nil {
		return fmt.Errorf("configure custom resources: %w", err)
	}
	p.aggregator, err = controlplaneapiserver.CreateAggregatorConfig(*p.native.Generic, completed, p.native.VersionedInformers,
		resolver, p.native.ProxyTransport, p.native.PeerProxy, plugins)
	if err != nil {
		return fmt.Errorf("configure aggregation: %w", err)
	}
	return nil
}

// chain connects the servers: each hands on what it does not know.
func (p *parts) chain() (*aggregator.APIAggregator, error) {
	notFound := notfoundhandler.New(p.native.Generic.Serializer, genericfilters.NoMuxAndDiscoveryIncompleteKey)
	extensions, err := p.extensions.Complete().New(genericapiserver.NewEmptyDelegateWithCustomHandler(notFound))
	if err != nil {
		return nil, fmt.Errorf("assemble custom resources: %w", err)
	}
	native, err := p.installNative(extensions.GenericAPIServer)
	if err != nil {
		return nil, err
	}
	crds := extensions.Informers.Apiextensions().V1().CustomResourceDefinitions()
	chain, err := controlplaneapiserver.CreateAggregatorServer(p.aggregator.Complete(), native, crds, true, priorities())
	if err != nil {
		return nil, fmt.Errorf("assemble aggregation: %w", err)
	}
	return chain, nil
}

// priorities says in which order API groups are listed and preferred by kubectl, as kube-apiserver has it.
func priorities() map[schema.GroupVersion]controlplaneapiserver.APIServicePriority {
	all := controlplaneapiserver.DefaultGenericAPIServicePriorities()
	type priority = controlplaneapiserver.APIServicePriority
	maps.Copy(all, map[schema.GroupVersion]priority{
		{Group: "apps", Version: "v1"}:                   {Group: 17800, Version: 15},
		{Group: "autoscaling", Version: "v1"}:            {Group: 17500, Version: 15},
		{Group: "autoscaling", Version: "v2"}:            {Group: 17500, Version: 30},
		{Group: "batch", Version: "v1"}:                  {Group: 17400, Version: 15},
		{Group: "networking.k8s.io", Version: "v1"}:      {Group: 17200, Version: 15},
		{Group: "networking.k8s.io", Version: "v1beta1"}: {Group: 17200, Version: 9},
		{Group: "policy", Version: "v1"}:                 {Group: 17100, Version: 15},
		{Group: "storage.k8s.io", Version: "v1"}:         {Group: 16800, Version: 15},
		{Group: "storage.k8s.io", Version: "v1beta1"}:    {Group: 16800, Version: 9},
		{Group: "scheduling.k8s.io", Version: "v1"}:      {Group: 16600, Version: 15},
		{Group: "node.k8s.io", Version: "v1"}:            {Group: 16300, Version: 15},
		{Group: "discovery.k8s.io", Version: "v1"}:       {Group: 16200, Version: 15},
		{Group: "resource.k8s.io", Version: "v1"}:        {Group: 16200, Version: 21},
	})
	return all
}
