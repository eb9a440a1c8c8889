// SPDX-License-Identifier: Apache-2.0

// Package client is a node's client of the Kubernetes API: the kinds that a node reads and writes, over protobuf, and
// nothing else. The generated clientset registers every kind of Kubernetes, which costs a node's program 20 MB and tens
// of milliseconds at start; this one registers a few groups.
package client

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	nodev1 "k8s.io/api/node/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// Client talks to one API server. It is safe for concurrent use.
type Client struct {
	scheme *runtime.Scheme
	groups map[schema.GroupVersion]*rest.RESTClient
	config *rest.Config

	observer atomic.Pointer[func(Request)]
}

var versions = []schema.GroupVersion{
	corev1.SchemeGroupVersion,
	discoveryv1.SchemeGroupVersion,
	coordinationv1.SchemeGroupVersion,
	certificatesv1.SchemeGroupVersion,
	authenticationv1.SchemeGroupVersion,
	authorizationv1.SchemeGroupVersion,
	networkingv1.SchemeGroupVersion,
	nodev1.SchemeGroupVersion,
}

// New makes a client for the API server that config names. config is copied; all groups share one connection pool.
func New(config *rest.Config) (*Client, error) {
	scheme, err := newScheme()
	if err != nil {
		return nil, err
	}
	c := &Client{scheme: scheme, groups: map[schema.GroupVersion]*rest.RESTClient{}, config: rest.CopyConfig(config)}
	codecs := serializer.NewCodecFactory(scheme).WithoutConversion()
	watched := rest.CopyConfig(c.config)
	watched.Wrap(func(inner http.RoundTripper) http.RoundTripper { return observed{inner, &c.observer} })
	shared, err := rest.HTTPClientFor(watched)
	if err != nil {
		return nil, fmt.Errorf("configure the connection to the API server %s: %w", config.Host, err)
	}
	noticeDeadConnections(shared.Transport, silence, signOfLife)
	for _, version := range versions {
		part := rest.CopyConfig(c.config)
		part.GroupVersion = &version
		part.APIPath = "/apis"
		if version.Group == "" {
			part.APIPath = "/api"
		}
		part.NegotiatedSerializer = codecs
		part.ContentType = runtime.ContentTypeProtobuf
		part.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
		if c.groups[version], err = rest.RESTClientForConfigAndClient(part, shared); err != nil {
			return nil, fmt.Errorf("make a client for %s: %w", version, err)
		}
	}
	return c, nil
}

// How long a connection may be silent before it is asked for a sign of life, and how long that may take. What is watched
// over a connection that died without a word (a host that is gone, a forgotten translation) is old for that long.
const (
	silence    = 10 * time.Second
	signOfLife = 5 * time.Second
)

// noticeDeadConnections finds the HTTP transport below what wraps it. Where every connection is the default transport's,
// which belongs to nobody, nothing is changed.
func noticeDeadConnections(of http.RoundTripper, silence, signOfLife time.Duration) {
	for of != nil {
		if transport, ok := of.(*http.Transport); ok {
			if transport != http.DefaultTransport {
				transport.HTTP2 = &http.HTTP2Config{SendPingTimeout: silence, PingTimeout: signOfLife}
			}
			return
		}
		wrapper, ok := of.(net.RoundTripperWrapper)
		if !ok {
			return
		}
		of = wrapper.WrappedRoundTripper()
	}
}

func newScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	builder := runtime.NewSchemeBuilder(corev1.AddToScheme, discoveryv1.AddToScheme, coordinationv1.AddToScheme,
		certificatesv1.AddToScheme, authenticationv1.AddToScheme, authorizationv1.AddToScheme, networkingv1.AddToScheme, nodev1.AddToScheme)
	if err := builder.AddToScheme(scheme); err != nil {
		return nil, fmt.Errorf("register API kinds: %w", err)
	}
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	return scheme, nil
}

// Core returns the REST client of the core group, v1: nodes, pods, services, events, secrets, configmaps, …
func (c *Client) Core() *rest.RESTClient { return c.groups[corev1.SchemeGroupVersion] }

// Discovery returns the REST client of discovery.k8s.io/v1: endpointslices.
func (c *Client) Discovery() *rest.RESTClient { return c.groups[discoveryv1.SchemeGroupVersion] }

// Coordination returns the REST client of coordination.k8s.io/v1: leases.
func (c *Client) Coordination() *rest.RESTClient { return c.groups[coordinationv1.SchemeGroupVersion] }

// Certificates returns the REST client of certificates.k8s.io/v1: certificatesigningrequests.
func (c *Client) Certificates() *rest.RESTClient { return c.groups[certificatesv1.SchemeGroupVersion] }

// Authentication returns the REST client of authentication.k8s.io/v1: tokenreviews.
func (c *Client) Authentication() *rest.RESTClient {
	return c.groups[authenticationv1.SchemeGroupVersion]
}

// Authorization returns the REST client of authorization.k8s.io/v1: subjectaccessreviews.
func (c *Client) Authorization() *rest.RESTClient {
	return c.groups[authorizationv1.SchemeGroupVersion]
}

// Networking returns the REST client of networking.k8s.io/v1: servicecidrs.
func (c *Client) Networking() *rest.RESTClient { return c.groups[networkingv1.SchemeGroupVersion] }

// Node returns the REST client of node.k8s.io/v1: runtimeclasses.
func (c *Client) Node() *rest.RESTClient { return c.groups[nodev1.SchemeGroupVersion] }

// Config returns a copy of the configuration that the client was made from.
func (c *Client) Config() *rest.Config { return rest.CopyConfig(c.config) }

// Scheme returns the kinds that this client knows. Callers must not register more.
func (c *Client) Scheme() *runtime.Scheme { return c.scheme }

// Parameters encodes list, get, patch and delete options as query parameters; requests take it in VersionedParams.
func (c *Client) Parameters() runtime.ParameterCodec { return runtime.NewParameterCodec(c.scheme) }

// Watched returns the list and watch of one resource for an informer, in every namespace when namespace is empty.
func Watched(group *rest.RESTClient, resource, namespace string, selector fields.Selector) *cache.ListWatch {
	return cache.NewListWatchFromClient(group, resource, namespace, selector)
}
