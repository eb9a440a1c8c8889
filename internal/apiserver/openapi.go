// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	restful "github.com/emicklei/go-restful/v3"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/mux"
	"k8s.io/apiserver/pkg/server/routes"
	"k8s.io/apiserver/pkg/util/openapi"
	openapicommon "k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/common/restfuladapter"
	"k8s.io/kube-openapi/pkg/handler3"
)

const (
	openAPIv2 = "/openapi/v2"
	openAPIv3 = "/openapi/v3"
)

// documents serves the OpenAPI documents of the native kinds. They are 12 MB that most clusters never ask for, and
// describing them takes a third of a start: each is made when it is first wanted. The aggregator, which asks for the list
// of documents at its start, gets it from the paths alone.
//
// A document's address carries a hash, for clients to keep it by. The kinds of a running server never change, so one hash
// names them all, and a server started again, perhaps of another version, has another.
type documents struct {
	hash    string
	list    []byte                         // of /openapi/v3
	v2      func() http.Handler            // the whole, for older clients
	v3      map[string]func() http.Handler // by path without its slash, as in apis/apps/v1
	started time.Time
}

// describeOnly lets a server describe definitions instead of the thousand of all kinds, which take time to make and 6 MB
// to keep.
func describeOnly(config *genericapiserver.Config, definitions openapicommon.GetOpenAPIDefinitions) {
	definitions = openapi.GetOpenAPIDefinitionsWithoutDisabledFeatures(definitions)
	v2, v3 := *config.OpenAPIConfig, *config.OpenAPIV3Config
	v2.GetDefinitions, v2.Definitions = definitions, nil
	v3.GetDefinitions, v3.Definitions = definitions, nil
	config.OpenAPIConfig, config.OpenAPIV3Config = &v2, &v3
}

// keepNoBuilder names operations the way the builder of documents would. Left to itself, the builder writes a function into
// the configuration that keeps the builder, with all definitions, for as long as the server lives.
func keepNoBuilder(config *openapicommon.OpenAPIV3Config) {
	name := config.GetOperationIDAndTags //nolint:staticcheck // the API server sets no other
	config.GetOperationIDAndTagsFromRoute = func(route openapicommon.Route) (string, []string, error) {
		adapter, ok := route.(*restfuladapter.RouteAdapter)
		if !ok {
			return "", nil, fmt.Errorf("name operation %s: a %T is no route of go-restful", route.OperationName(), route)
		}
		return name(adapter.Route)
	}
}

func newDocuments(container *restful.Container, v2 *openapicommon.Config, v3 *openapicommon.OpenAPIV3Config) (*documents, error) {
	d := &documents{hash: rand.Text(), v3: map[string]func() http.Handler{}, started: time.Now()}
	d.v2 = sync.OnceValue(func() http.Handler {
		paths := mux.NewPathRecorderMux("openapi-v2")
		routes.OpenAPI{Config: v2}.InstallV2(container, paths)
		return paths
	})
	list := handler3.OpenAPIV3Discovery{Paths: map[string]handler3.OpenAPIV3DiscoveryGroupVersion{}}
	for _, service := range container.RegisteredWebServices() {
		path := strings.TrimPrefix(service.RootPath(), "/")
		address := url.URL{Path: openAPIv3 + "/" + path, RawQuery: url.Values{"hash": {d.hash}}.Encode()}
		list.Paths[path] = handler3.OpenAPIV3DiscoveryGroupVersion{ServerRelativeURL: address.String()}
		d.v3[path] = sync.OnceValue(func() http.Handler {
			one := restful.NewContainer().Add(service)
			paths := mux.NewPathRecorderMux("openapi-v3")
			routes.OpenAPI{V3Config: v3}.InstallV3(one, paths)
			return paths
		})
	}
	var err error
	if d.list, err = json.Marshal(list); err != nil {
		return nil, fmt.Errorf("encode list of OpenAPI documents: %w", err)
	}
	return d, nil
}

// install makes a server answer with these documents; its own must be off (SkipOpenAPIInstallation).
func (d *documents) install(server *genericapiserver.GenericAPIServer) {
	paths := server.Handler.NonGoRestfulMux
	paths.HandleFunc(openAPIv2, func(w http.ResponseWriter, r *http.Request) { d.v2().ServeHTTP(w, r) })
	paths.HandleFunc(openAPIv3, d.serveList)
	paths.HandlePrefix(openAPIv3+"/", http.HandlerFunc(d.serve))
}

func (d *documents) serveList(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Etag", `"`+d.hash+`"`)
	w.Header().Set("Last-Modified", d.started.UTC().Format(http.TimeFormat))
	if r.Method == http.MethodHead {
		return
	}
	// A client that hangs up needs no answer.
	_, _ = w.Write(d.list)
}

// serve answers with one document. Asked for by this server's hash, it may be kept for a year.
func (d *documents) serve(w http.ResponseWriter, r *http.Request) {
	document, found := d.v3[strings.TrimPrefix(r.URL.Path, openAPIv3+"/")]
	if !found {
		http.NotFound(w, r)
		return
	}
	if r.URL.Query().Get("hash") == d.hash {
		w.Header().Set("Cache-Control", "public, immutable")
		w.Header().Set("Expires", time.Now().AddDate(1, 0, 0).UTC().Format(http.TimeFormat))
	}
	// The handler behind compares the hash with one of its own and would send the client elsewhere.
	r = r.Clone(r.Context())
	r.URL.RawQuery = ""
	document().ServeHTTP(w, r)
}
