// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
	openapinamer "k8s.io/apiserver/pkg/endpoints/openapi"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/filters"
	serverstorage "k8s.io/apiserver/pkg/server/storage"
	"k8s.io/apiserver/pkg/util/openapi"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/controlplane"
	controlplaneapiserver "k8s.io/kubernetes/pkg/controlplane/apiserver"
	"k8s.io/kubernetes/pkg/controlplane/apiserver/options"
	generatedopenapi "k8s.io/kubernetes/pkg/generated/openapi"
	"k8s.io/kubernetes/pkg/kubeapiserver"
	"k8s.io/utils/clock"
)

// common is what the three servers have in common, before each has its own copy. Kubernetes has a function for it, which
// makes a certificate for requests of the process to itself; here those need none (inProcess), and the two RSA keys of it
// were a tenth of the time that a start took.
type common struct {
	*genericapiserver.Config
	informers informers.SharedInformerFactory
	storage   *serverstorage.DefaultStorageFactory
	client    kubernetes.Interface
}

func newCommon(config Config, o options.CompletedOptions, own *inProcess, schemes []*runtime.Scheme) (*common, error) {
	g := &common{Config: genericapiserver.NewConfig(legacyscheme.Codecs)}
	g.Flagz = o.Flagz
	g.MergedResourceConfig = controlplane.DefaultAPIResourceConfigSource()
	if err := o.GenericServerRunOptions.ApplyTo(g.Config); err != nil {
		return nil, fmt.Errorf("apply general options: %w", err)
	}
	if err := g.listen(config, o); err != nil {
		return nil, err
	}
	var err error
	if g.client, err = kubernetes.NewForConfig(own.config(g.LoopbackClientConfig)); err != nil {
		return nil, fmt.Errorf("make the server's own client: %w", err)
	}
	g.informers = informers.NewSharedInformerFactoryWithOptions(g.client, resyncPeriod, informers.WithTransform(withoutManagedFields))
	if err := o.Features.ApplyTo(g.Config, g.client, g.informers); err != nil {
		return nil, fmt.Errorf("apply features: %w", err)
	}
	if err := o.APIEnablement.ApplyTo(g.Config, g.MergedResourceConfig, legacyscheme.Scheme); err != nil {
		return nil, fmt.Errorf("enable APIs: %w", err)
	}
	g.describe(schemes)
	g.LongRunningFunc = filters.BasicLongRunningRequestCheck(sets.NewString("watch", "proxy"), sets.NewString("attach", "exec", "proxy", "log", "portforward"))
	g.AggregatedDiscoveryGroupManager = aggregated.NewResourceManager("apis")
	if err := g.store(o); err != nil {
		return nil, err
	}
	return g, g.guard(o)
}

// resyncPeriod is how often the handlers of admission and authorization are told of every object, as in kube-apiserver.
const resyncPeriod = 10 * time.Minute

func withoutManagedFields(object any) (any, error) {
	if accessor, err := meta.Accessor(object); err == nil && accessor.GetManagedFields() != nil {
		accessor.SetManagedFields(nil)
	}
	return object, nil
}

// listen opens the port, and says how requests over TLS that the process sends to itself find it: webhooks that a Service
// default/kubernetes serves are called like that.
func (g *common) listen(config Config, o options.CompletedOptions) error {
	if err := o.SecureServing.SecureServingOptions.ApplyTo(&g.SecureServing); err != nil {
		return fmt.Errorf("serve on port %d: %w", config.Port, err)
	}
	authority, err := os.ReadFile(config.Credentials.ServingCA)
	if err != nil {
		return fmt.Errorf("read authority of the serving certificate: %w", err)
	}
	host, port, err := genericapiserver.LoopbackHostPort(net.JoinHostPort(config.BindAddress.String(), strconv.Itoa(int(config.Port))))
	if err != nil {
		return fmt.Errorf("find loopback address: %w", err)
	}
	g.LoopbackClientConfig = &rest.Config{
		Host: "https://" + net.JoinHostPort(host, port), QPS: -1, BearerToken: rand.Text(), DisableCompression: true,
		ContentConfig:   rest.ContentConfig{ContentType: runtime.ContentTypeProtobuf},
		TLSClientConfig: rest.TLSClientConfig{ServerName: "kubernetes.default.svc", CAData: authority},
	}
	return nil
}

func (g *common) describe(schemes []*runtime.Scheme) {
	definitions := openapi.GetOpenAPIDefinitionsWithoutDisabledFeatures(generatedopenapi.GetOpenAPIDefinitions)
	namer := openapinamer.NewDefinitionNamer(schemes...)
	g.OpenAPIConfig = genericapiserver.DefaultOpenAPIConfig(definitions, namer)
	g.OpenAPIConfig.Info.Title = "Kubernetes"
	g.OpenAPIV3Config = genericapiserver.DefaultOpenAPIV3Config(definitions, namer)
	g.OpenAPIV3Config.Info.Title = "Kubernetes"
	keepNoBuilder(g.OpenAPIV3Config)
}

func (g *common) store(o options.CompletedOptions) error {
	o.Etcd.StorageConfig.Transport.TracerProvider = g.TracerProvider
	config := kubeapiserver.NewStorageFactoryConfigEffectiveVersion(g.EffectiveVersion)
	config.APIResourceConfig = g.MergedResourceConfig
	config.DefaultResourceEncoding.SetEffectiveVersion(g.EffectiveVersion)
	var err error
	if g.storage, err = config.Complete(o.Etcd).New(); err != nil {
		return fmt.Errorf("configure storage: %w", err)
	}
	g.storage.StorageConfig.StorageObjectCountTracker = g.StorageObjectCountTracker
	if err := o.Etcd.ApplyWithStorageFactoryTo(g.storage, g.Config); err != nil {
		return fmt.Errorf("apply storage: %w", err)
	}
	return nil
}

// guard says who may do what.
func (g *common) guard(o options.CompletedOptions) error {
	ctx := wait.ContextForChannel(g.DrainedNotify())
	if err := o.Authentication.ApplyTo(ctx, &g.Authentication, g.SecureServing, g.EgressSelector, g.OpenAPIConfig, g.OpenAPIV3Config,
		g.client, g.informers, g.APIServerID); err != nil {
		return fmt.Errorf("configure authentication: %w", err)
	}
	g.Authentication.Authenticator = newVerifiedOnce(g.Authentication.Authenticator, clock.RealClock{})
	var err error
	if g.Authorization.Authorizer, g.RuleResolver, _, err = controlplaneapiserver.BuildAuthorizer(ctx, o, g.EgressSelector, g.APIServerID, g.informers); err != nil {
		return fmt.Errorf("configure authorization: %w", err)
	}
	if err := o.Audit.ApplyTo(g.Config); err != nil {
		return fmt.Errorf("configure audit: %w", err)
	}
	return nil
}
