// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"sync"

	"go.etcd.io/etcd/client/v3/kubernetes"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/cacher"
	"k8s.io/apiserver/pkg/storage/etcd3"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/storage/storagebackend/factory"
	"k8s.io/apiserver/pkg/storage/value/encrypt/identity"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
)

// direct lets the kinds that have a watch cache speak with the etcd of this process by function calls. Kubernetes' own
// way is a gRPC connection for each of about a hundred kinds: buffers, goroutines and an encoding that nobody needs here.
type direct struct {
	client    func() *kubernetes.Client
	compactor etcd3.Compactor // events, which have no watch cache, bring one more: the two agree through a key in etcd
	stop      func()
}

// newDirect returns nil when etcd is elsewhere.
func newDirect(client func() *kubernetes.Client, config storagebackend.Config) *direct {
	if client == nil {
		return nil
	}
	own := client().Client
	compactor := etcd3.NewCompactor(own, config.CompactionInterval, clock.RealClock{}, nil)
	return &direct{client: client, compactor: compactor, stop: func() {
		compactor.Stop()
		_ = own.Close() // says only that it is closed
	}}
}

// close stops what newDirect started, once the server's storage is closed.
func (d *direct) close() {
	if d != nil {
		d.stop()
	}
}

// wrap returns a getter of options that differ in how a kind's storage is made. A nil direct changes nothing.
func (d *direct) wrap(getter generic.RESTOptionsGetter) generic.RESTOptionsGetter {
	if d == nil {
		return getter
	}
	return directOptions{getter, d}
}

type directOptions struct {
	generic.RESTOptionsGetter
	direct *direct
}

func (o directOptions) GetRESTOptions(resource schema.GroupResource, example runtime.Object) (generic.RESTOptions, error) {
	options, err := o.RESTOptionsGetter.GetRESTOptions(resource, example)
	options.Decorator = o.direct.cached
	return options, err
}

// cached is a generic.StorageDecorator: a watch cache over etcd.
func (d *direct) cached(config *storagebackend.ConfigForResource, resourcePrefix string,
	key func(runtime.Object) (string, error), newObject, newList func() runtime.Object, attributes storage.AttrFunc,
	triggers storage.IndexerFuncs, indexers *cache.Indexers) (storage.Interface, factory.DestroyFunc, error) {
	raw, closeRaw, err := d.raw(config, resourcePrefix, newObject, newList)
	if err != nil {
		return nil, func() {}, err
	}
	watched, err := cacher.NewCacherFromConfig(cacher.Config{
		Storage: raw, Versioner: storage.APIObjectVersioner{}, GroupResource: config.GroupResource, Codec: config.Codec,
		EventsHistoryWindow: config.EventsHistoryWindow, ResourcePrefix: resourcePrefix, KeyFunc: key, NewFunc: newObject,
		NewListFunc: newList, GetAttrsFunc: attributes, IndexerFuncs: triggers, Indexers: indexers,
	})
	if err != nil {
		closeRaw()
		return nil, func() {}, err
	}
	delegator := cacher.NewCacheDelegator(watched, raw)
	return delegator, sync.OnceFunc(func() { // sub-resources share a storage and close it more than once
		delegator.Stop()
		watched.Stop()
		closeRaw()
	}), nil
}

// raw is the storage below a watch cache. Each has a client, and so a watch stream, of its own: etcd reports progress to a
// stream only when all its watches are up to date.
func (d *direct) raw(config *storagebackend.ConfigForResource, resourcePrefix string, newObject, newList func() runtime.Object) (storage.Interface, func(), error) {
	client := d.client()
	client.KV = etcd3.NewETCDLatencyTracker(client.KV)
	transformer := config.Transformer
	if transformer == nil {
		transformer = identity.NewEncryptCheckTransformer()
	}
	versioner := storage.APIObjectVersioner{}
	store, err := etcd3.New(client, d.compactor, config.Codec, newObject, newList, config.Prefix, resourcePrefix,
		config.GroupResource, transformer, config.LeaseManagerConfig, etcd3.NewDefaultDecoder(config.Codec, versioner), versioner)
	if err != nil {
		_ = client.Close() // it never spoke
		return nil, nil, err
	}
	return store, func() {
		store.Close()
		_ = client.Close() // says only that it is closed
	}, nil
}
