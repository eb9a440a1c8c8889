// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"k8s.io/apiserver/pkg/registry/generic"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/kubernetes"
	api "k8s.io/kubernetes/pkg/apis/core"
	controlplaneapiserver "k8s.io/kubernetes/pkg/controlplane/apiserver"
	endpointsstore "k8s.io/kubernetes/pkg/registry/core/endpoint/storage"
	podstore "k8s.io/kubernetes/pkg/registry/core/pod/storage"
	svcreg "k8s.io/kubernetes/pkg/registry/core/service"
	"k8s.io/kubernetes/pkg/registry/core/service/allocator"
	allocatorstore "k8s.io/kubernetes/pkg/registry/core/service/allocator/storage"
	"k8s.io/kubernetes/pkg/registry/core/service/ipallocator"
	ipcontroller "k8s.io/kubernetes/pkg/registry/core/service/ipallocator/controller"
	"k8s.io/kubernetes/pkg/registry/core/service/portallocator"
	portcontroller "k8s.io/kubernetes/pkg/registry/core/service/portallocator/controller"
	servicestore "k8s.io/kubernetes/pkg/registry/core/service/storage"

	"eastwest/internal/apiserver/services"
)

// repairInterval is how often leaked addresses and node ports are looked for, as in kube-apiserver.
const repairInterval = 3 * time.Minute

// allocation holds what Services take from: virtual IPs, one allocator a family, and node ports, which are bits of one
// record in etcd that is only ever compared and swapped.
type allocation struct {
	config    Config
	owner     *services.Owner
	addresses []*services.Addresses // the primary family first
	ports     *portallocator.PortAllocator
	portStore *allocatorstore.Etcd
	repairs   []func(onFirstSuccess func(), stop chan struct{})
}

func newAllocation(config Config, native *controlplaneapiserver.Config, client kubernetes.Interface) (*allocation, error) {
	a := &allocation{config: config, owner: &services.Owner{}}
	for _, cidr := range config.ServiceCIDRs {
		a.addresses = append(a.addresses, services.NewAddresses(cidr, client, a.owner, config.Log))
	}
	informers := native.VersionedInformers
	networking := informers.Networking().V1()
	if err := services.Watch(networking.ServiceCIDRs(), networking.IPAddresses(), a.addresses...); err != nil {
		return nil, err
	}
	if err := a.openPorts(native); err != nil {
		return nil, err
	}
	a.repairs = []func(func(), chan struct{}){
		ipcontroller.NewRepairIPAddress(repairInterval, client, informers.Core().V1().Services(),
			networking.ServiceCIDRs(), networking.IPAddresses()).RunUntil,
		portcontroller.NewRepair(repairInterval, client.CoreV1(), client.EventsV1(),
			config.NodePorts.kubernetes(), a.portStore).RunUntil,
	}
	return a, nil
}

func (a *allocation) openPorts(native *controlplaneapiserver.Config) error {
	storage, err := native.StorageFactory.NewConfig(api.Resource("services"), &api.Service{})
	if err != nil {
		return fmt.Errorf("configure storage of node ports: %w", err)
	}
	resource := storage.ForResource(api.Resource("servicenodeportallocations"))
	a.ports, err = portallocator.New(a.config.NodePorts.kubernetes(), func(size int, rangeSpec string, offset int) (allocator.Interface, error) {
		bits := allocator.NewAllocationMapWithOffset(size, rangeSpec, offset)
		store, err := allocatorstore.NewEtcd(bits, "/ranges/servicenodeports", resource)
		a.portStore = store
		return store, err
	})
	if err != nil {
		return fmt.Errorf("open storage of node ports: %w", err)
	}
	a.ports.EnableMetrics()
	return nil
}

// storage returns Kubernetes' Service storage over these allocators.
func (a *allocation) storage(options generic.RESTOptionsGetter, endpoints *endpointsstore.REST, pods *podstore.REST, proxy *http.Transport) (*servicestore.REST, *servicestore.StatusREST, *svcreg.ProxyREST, error) {
	families := map[api.IPFamily]ipallocator.Interface{}
	for _, addresses := range a.addresses {
		families[addresses.IPFamily()] = addresses
	}
	rest, status, toProxy, err := servicestore.NewREST(options, a.addresses[0].IPFamily(), families, a.ports, endpoints, pods, proxy)
	if err == nil {
		a.owner.Wrap(rest.Store)
	}
	return rest, status, toProxy, err
}

// start runs the repair loops, and returns when each has succeeded once: before that the record of node ports may not
// exist, and nothing could be allocated.
func (a *allocation) start(hook genericapiserver.PostStartHookContext) error {
	ctx, cancel := context.WithTimeout(hook, time.Minute)
	defer cancel()
	first := make(chan struct{}, len(a.repairs))
	for _, repair := range a.repairs {
		stop := make(chan struct{})
		go repair(func() { first <- struct{}{} }, stop)
		context.AfterFunc(hook, func() { close(stop) })
	}
	for range a.repairs {
		select {
		case <-first:
		case <-ctx.Done():
			return fmt.Errorf("check the allocation of service addresses and node ports: %w", ctx.Err())
		}
	}
	return nil
}
