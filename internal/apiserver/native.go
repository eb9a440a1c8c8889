// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"fmt"

	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	controlplaneapiserver "k8s.io/kubernetes/pkg/controlplane/apiserver"
	"k8s.io/kubernetes/pkg/controlplane/controller/defaultservicecidr"
	"k8s.io/kubernetes/pkg/controlplane/controller/kubernetesservice"
	"k8s.io/kubernetes/pkg/controlplane/reconcilers"
	admissionregistrationrest "k8s.io/kubernetes/pkg/registry/admissionregistration/rest"
	apiserverinternalrest "k8s.io/kubernetes/pkg/registry/apiserverinternal/rest"
	appsrest "k8s.io/kubernetes/pkg/registry/apps/rest"
	authenticationrest "k8s.io/kubernetes/pkg/registry/authentication/rest"
	authorizationrest "k8s.io/kubernetes/pkg/registry/authorization/rest"
	autoscalingrest "k8s.io/kubernetes/pkg/registry/autoscaling/rest"
	batchrest "k8s.io/kubernetes/pkg/registry/batch/rest"
	certificatesrest "k8s.io/kubernetes/pkg/registry/certificates/rest"
	coordinationrest "k8s.io/kubernetes/pkg/registry/coordination/rest"
	discoveryrest "k8s.io/kubernetes/pkg/registry/discovery/rest"
	eventsrest "k8s.io/kubernetes/pkg/registry/events/rest"
	flowcontrolrest "k8s.io/kubernetes/pkg/registry/flowcontrol/rest"
	networkingrest "k8s.io/kubernetes/pkg/registry/networking/rest"
	noderest "k8s.io/kubernetes/pkg/registry/node/rest"
	policyrest "k8s.io/kubernetes/pkg/registry/policy/rest"
	rbacrest "k8s.io/kubernetes/pkg/registry/rbac/rest"
	resourcerest "k8s.io/kubernetes/pkg/registry/resource/rest"
	storagerest "k8s.io/kubernetes/pkg/registry/storage/rest"

	discoveryclient "k8s.io/client-go/kubernetes/typed/discovery/v1"

	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"

	api "k8s.io/kubernetes/pkg/apis/core"
)

// installNative makes the server of Kubernetes' own kinds, before the delegate that serves custom resources.
func (p *parts) installNative(delegate genericapiserver.DelegationTarget) (*genericapiserver.GenericAPIServer, error) {
	p.native.Generic.SkipOpenAPIInstallation = true
	complete := p.native.Complete()
	server, err := complete.New(controlplaneapiserver.KubeAPIServer, delegate)
	if err != nil {
		return nil, fmt.Errorf("assemble native API: %w", err)
	}
	client, err := kubernetes.NewForConfig(p.native.Generic.LoopbackClientConfig)
	if err != nil {
		return nil, fmt.Errorf("make loopback client: %w", err)
	}
	core, err := newCore(p.config, *complete.NewCoreGenericConfig(), p.native, client)
	if err != nil {
		return nil, err
	}
	if err := server.InstallAPIs(p.providers(complete.Generic.SharedInformerFactory, core, client)...); err != nil {
		return nil, fmt.Errorf("install native API: %w", err)
	}
	generic := p.native.Generic
	// What reads the definitions at the start has read them; documents make them anew.
	generic.OpenAPIConfig.Definitions, generic.OpenAPIV3Config.Definitions = nil, nil
	documents, err := newDocuments(server.GenericAPIServer.Handler.GoRestfulContainer, generic.OpenAPIConfig, generic.OpenAPIV3Config)
	if err != nil {
		return nil, err
	}
	documents.install(server.GenericAPIServer)
	return server.GenericAPIServer, p.addHooks(server.GenericAPIServer, client)
}

// providers lists the groups of native kinds, in the order in which discovery shows them.
func (p *parts) providers(informers informers.SharedInformerFactory, core *core, client kubernetes.Interface) []controlplaneapiserver.RESTStorageProvider {
	generic := p.native.Generic
	authorizer := generic.Authorization.Authorizer
	return []controlplaneapiserver.RESTStorageProvider{
		core,
		apiserverinternalrest.StorageProvider{},
		authenticationrest.RESTStorageProvider{Authenticator: generic.Authentication.Authenticator, APIAudiences: generic.Authentication.APIAudiences},
		authorizationrest.RESTStorageProvider{Authorizer: authorizer, RuleResolver: generic.RuleResolver},
		autoscalingrest.RESTStorageProvider{},
		batchrest.RESTStorageProvider{},
		certificatesrest.RESTStorageProvider{Authorizer: authorizer},
		coordinationrest.RESTStorageProvider{},
		discoveryrest.StorageProvider{},
		networkingrest.RESTStorageProvider{},
		noderest.RESTStorageProvider{},
		policyrest.RESTStorageProvider{},
		roles{rbacrest.RESTStorageProvider{Authorizer: authorizer}},
		priorityClasses{},
		storagerest.RESTStorageProvider{},
		flowcontrolrest.RESTStorageProvider{InformerFactory: informers},
		// After the group extensions of old, so that unqualified names mean these.
		appsrest.StorageProvider{},
		admissionregistrationrest.RESTStorageProvider{Authorizer: authorizer, DiscoveryClient: client.Discovery()},
		eventsrest.RESTStorageProvider{TTL: p.native.EventTTL},
		resourcerest.RESTStorageProvider{NamespaceClient: client.CoreV1().Namespaces(), Authorizer: authorizer},
	}
}

// addHooks starts, once the server serves, what keeps its own objects: the default ServiceCIDR and the Service
// default/kubernetes with the addresses of the servers that live.
func (p *parts) addHooks(server *genericapiserver.GenericAPIServer, client kubernetes.Interface) error {
	nets := p.config.serviceNets()
	cidrs := defaultservicecidr.NewController(nets[0], nets[1], client)
	endpoints, err := p.endpointReconciler()
	if err != nil {
		return err
	}
	service := kubernetesservice.New(kubernetesservice.Config{
		PublicIP:           p.native.Generic.PublicAddress,
		EndpointReconciler: endpoints,
		EndpointInterval:   endpointInterval,
		ServiceIP:          p.config.kubernetesServiceIP(),
		ServicePort:        443,
		PublicServicePort:  int(p.config.Port),
	}, client, p.native.VersionedInformers.Core().V1().Services())
	hooks := map[string]genericapiserver.PostStartHookFunc{
		"start-kubernetes-service-cidr-controller": func(hook genericapiserver.PostStartHookContext) error {
			cidrs.Start(hook)
			return nil
		},
		"bootstrap-controller": func(hook genericapiserver.PostStartHookContext) error {
			service.Start(hook.Done())
			return nil
		},
	}
	for name, hook := range hooks {
		if err := server.AddPostStartHook(name, hook); err != nil {
			return fmt.Errorf("add start hook %s: %w", name, err)
		}
	}
	return server.AddPreShutdownHook("stop-kubernetes-service-controller", func() error { service.Stop(); return nil })
}

// endpointReconciler keeps the endpoints of default/kubernetes by leases in etcd, which end with the server that holds
// them.
func (p *parts) endpointReconciler() (reconcilers.EndpointReconciler, error) {
	loopback := p.native.Generic.LoopbackClientConfig
	endpoints, err := corev1client.NewForConfig(loopback)
	if err != nil {
		return nil, fmt.Errorf("make endpoints client: %w", err)
	}
	slices, err := discoveryclient.NewForConfig(loopback)
	if err != nil {
		return nil, fmt.Errorf("make endpoint slices client: %w", err)
	}
	storage, err := p.native.StorageFactory.NewConfig(api.Resource("apiServerIPInfo"), &api.Endpoints{})
	if err != nil {
		return nil, fmt.Errorf("configure storage of server leases: %w", err)
	}
	leases, err := reconcilers.NewLeases(storage, "/masterleases/", leaseLife)
	if err != nil {
		return nil, fmt.Errorf("open server leases: %w", err)
	}
	return reconcilers.NewLeaseEndpointReconciler(reconcilers.NewEndpointsAdapter(endpoints, slices), leases), nil
}
