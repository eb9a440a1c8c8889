// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"fmt"
	"maps"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"
	serverstorage "k8s.io/apiserver/pkg/server/storage"
	"k8s.io/client-go/kubernetes"
	controlplaneapiserver "k8s.io/kubernetes/pkg/controlplane/apiserver"
	endpointsstore "k8s.io/kubernetes/pkg/registry/core/endpoint/storage"
	limitrangestore "k8s.io/kubernetes/pkg/registry/core/limitrange/storage"
	nodestore "k8s.io/kubernetes/pkg/registry/core/node/storage"
	pvstore "k8s.io/kubernetes/pkg/registry/core/persistentvolume/storage"
	pvcstore "k8s.io/kubernetes/pkg/registry/core/persistentvolumeclaim/storage"
	podstore "k8s.io/kubernetes/pkg/registry/core/pod/storage"
	podtemplatestore "k8s.io/kubernetes/pkg/registry/core/podtemplate/storage"
	controllerstore "k8s.io/kubernetes/pkg/registry/core/replicationcontroller/storage"
	corerest "k8s.io/kubernetes/pkg/registry/core/rest"
	serviceaccountstore "k8s.io/kubernetes/pkg/registry/core/serviceaccount/storage"
)

// endpointInterval is how often a server renews its lease among the endpoints of default/kubernetes, and leaseLife how
// long the lease outlives a server that stops without a word. Both as in kube-apiserver.
const (
	endpointInterval = 10 * time.Second
	leaseLife        = 15 * time.Second
)

// core provides the storage of the core group: Kubernetes' own, with our allocation of virtual IPs under its Services.
type core struct {
	corerest.GenericConfig
	config     Config
	client     kubernetes.Interface
	proxy      *http.Transport
	authorizer authorizer.Authorizer
	allocation *allocation
}

func newCore(config Config, base corerest.GenericConfig, native *controlplaneapiserver.Config, client kubernetes.Interface) (*core, error) {
	allocation, err := newAllocation(config, native, client)
	if err != nil {
		return nil, err
	}
	return &core{
		GenericConfig: base, config: config, client: client, proxy: native.ProxyTransport,
		authorizer: native.Generic.Authorization.Authorizer, allocation: allocation,
	}, nil
}

// storageSet collects resources and the first error, so that a list of resources reads as a list.
type storageSet struct {
	options generic.RESTOptionsGetter
	all     map[string]rest.Storage
	err     error
}

func (s *storageSet) fail(resource string, err error) bool {
	if err != nil && s.err == nil {
		s.err = fmt.Errorf("open storage of %s: %w", resource, err)
	}
	return s.err != nil
}

// NewRESTStorage opens the storage of every resource of the core group.
func (c *core) NewRESTStorage(enabled serverstorage.APIResourceConfigSource, options generic.RESTOptionsGetter) (genericapiserver.APIGroupInfo, error) {
	group, err := c.GenericConfig.NewRESTStorage(enabled, options)
	if err != nil {
		return group, fmt.Errorf("open storage of the core group: %w", err)
	}
	set := &storageSet{options: options, all: maps.Clone(group.VersionedResourcesStorageMap[corev1.SchemeGroupVersion.Version])}
	set.addPlain()
	pods := c.addNodesAndPods(set)
	c.addServices(set, pods)
	if set.err != nil {
		return group, set.err
	}
	group.VersionedResourcesStorageMap[corev1.SchemeGroupVersion.Version] = set.all
	return group, nil
}

// addPlain adds the resources that need nothing but storage.
func (s *storageSet) addPlain() {
	templates, err := podtemplatestore.NewREST(s.options)
	if s.fail("podtemplates", err) {
		return
	}
	limits, err := limitrangestore.NewREST(s.options)
	if s.fail("limitranges", err) {
		return
	}
	volumes, volumesStatus, err := pvstore.NewREST(s.options)
	if s.fail("persistentvolumes", err) {
		return
	}
	claims, claimsStatus, err := pvcstore.NewREST(s.options)
	if s.fail("persistentvolumeclaims", err) {
		return
	}
	controllers, err := controllerstore.NewStorage(s.options)
	if s.fail("replicationcontrollers", err) {
		return
	}
	maps.Copy(s.all, map[string]rest.Storage{
		"podtemplates":                  templates,
		"limitranges":                   limits,
		"persistentvolumes":             volumes,
		"persistentvolumes/status":      volumesStatus,
		"persistentvolumeclaims":        claims,
		"persistentvolumeclaims/status": claimsStatus,
		"replicationcontrollers":        controllers.Controller,
		"replicationcontrollers/status": controllers.Status,
		"replicationcontrollers/scale":  controllers.Scale,
	})
}

// addNodesAndPods adds the resources that reach kubelets, and the service accounts, whose tokens are bound to pods.
func (c *core) addNodesAndPods(s *storageSet) *podstore.PodStorage {
	nodes, err := nodestore.NewStorage(s.options, c.config.kubeletClient(), c.proxy)
	if s.fail("nodes", err) {
		return nil
	}
	pods, err := podstore.NewStorage(s.options, nodes.KubeletConnectionInfo, c.proxy, c.client.PolicyV1(), c.authorizer)
	if s.fail("pods", err) {
		return nil
	}
	// The generic storage of service accounts knows no pods; ours takes its place.
	s.all["serviceaccounts"].Destroy()
	if token := s.all["serviceaccounts/token"]; token != nil {
		token.Destroy()
	}
	secrets, ok := s.all["secrets"].(rest.Getter)
	if !ok && s.fail("serviceaccounts", fmt.Errorf("storage of secrets is a %T", s.all["secrets"])) {
		return nil
	}
	accounts, err := serviceaccountstore.NewREST(s.options, c.ServiceAccountIssuer, c.APIAudiences, c.ServiceAccountMaxExpiration,
		pods.Pod.Store, secrets, nodes.Node.Store, c.ExtendExpiration, c.MaxExtendedExpiration)
	if s.fail("serviceaccounts", err) {
		return nil
	}
	maps.Copy(s.all, map[string]rest.Storage{
		"nodes":                    nodes.Node,
		"nodes/status":             nodes.Status,
		"nodes/proxy":              nodes.Proxy,
		"pods":                     pods.Pod,
		"pods/status":              pods.Status,
		"pods/log":                 pods.Log,
		"pods/exec":                pods.Exec,
		"pods/attach":              pods.Attach,
		"pods/portforward":         pods.PortForward,
		"pods/proxy":               pods.Proxy,
		"pods/binding":             pods.Binding,
		"pods/eviction":            pods.Eviction,
		"pods/ephemeralcontainers": pods.EphemeralContainers,
		"pods/resize":              pods.Resize,
		"bindings":                 pods.LegacyBinding,
		"serviceaccounts":          accounts,
		"serviceaccounts/token":    accounts.Token,
	})
	return &pods
}

func (c *core) addServices(s *storageSet, pods *podstore.PodStorage) {
	if s.err != nil {
		return
	}
	endpoints, err := endpointsstore.NewREST(s.options)
	if s.fail("endpoints", err) {
		return
	}
	services, status, proxy, err := c.allocation.storage(s.options, endpoints, pods.Pod, c.proxy)
	if s.fail("services", err) {
		return
	}
	maps.Copy(s.all, map[string]rest.Storage{
		"endpoints":       endpoints,
		"services":        services,
		"services/status": status,
		"services/proxy":  proxy,
	})
}

// PostStartHook starts the allocation's watches and repair loops once the server serves.
func (c *core) PostStartHook() (string, genericapiserver.PostStartHookFunc, error) {
	return "start-service-ip-repair-controllers", c.allocation.start, nil
}
