// SPDX-License-Identifier: Apache-2.0

package services

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	api "k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/registry/core/service/ipallocator"
)

// world is one server's allocator, and an etcd that it shares with others.
type world struct {
	*testing.T
	etcd      *fake.Clientset
	owner     *Owner
	addresses *Addresses
}

func newWorld(t *testing.T, objects ...runtime.Object) *world {
	w := &world{T: t, etcd: fake.NewClientset(objects...), owner: &Owner{}}
	prefix := netip.MustParsePrefix("10.96.0.0/28")
	w.addresses = NewAddresses(prefix, w.etcd, w.owner, slog.New(slog.DiscardHandler))
	w.addresses.setRanges(map[netip.Prefix]bool{prefix: true})
	return w
}

// begin does what the Service storage's hook does: it takes the address that the Service asks for, or the next.
func (w *world) begin(name, asked string) (string, genericregistry.FinishFunc, error) {
	service := &api.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
	service.Spec.ClusterIP = asked
	finish, err := w.owner.run(w.Context(), service, func() (genericregistry.FinishFunc, error) {
		ip, err := net.ParseIP(service.Spec.ClusterIP), error(nil)
		if ip != nil {
			err = w.addresses.Allocate(ip)
		} else {
			ip, err = w.addresses.AllocateNext()
		}
		if err != nil {
			return nil, err
		}
		service.Spec.ClusterIP = ip.String()
		return func(_ context.Context, success bool) {
			if !success {
				if err := w.addresses.Release(ip); err != nil {
					w.Error(err)
				}
			}
		}, nil
	})
	return service.Spec.ClusterIP, finish, err
}

func (w *world) take(name, asked string) string {
	w.Helper()
	got, finish, err := w.begin(name, asked)
	if err != nil {
		w.Fatal(err)
	}
	finish(w.Context(), true)
	return got
}

// parent returns for whom an address is taken; empty when it is free.
func (w *world) parent(addr string) string {
	object, err := w.etcd.NetworkingV1().IPAddresses().Get(w.Context(), addr, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return ""
	}
	if err != nil {
		w.Fatal(err)
	}
	return object.Spec.ParentRef.Name
}

func address(name, parent string) *networkingv1.IPAddress {
	return &networkingv1.IPAddress{ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: networkingv1.IPAddressSpec{ParentRef: &networkingv1.ParentReference{Resource: "services", Namespace: "default", Name: parent}}}
}

func service(name string) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
}

// Many at once: each gets an address of its own, under its own name.
func TestAtOnce(t *testing.T) {
	w := newWorld(t)
	var all sync.WaitGroup
	for i := range 12 {
		all.Go(func() {
			name := fmt.Sprint("s", i)
			if got, _, err := w.begin(name, ""); err != nil || w.parent(got) != name {
				t.Errorf("%s got %s, which is of %q: %v", name, got, w.parent(got), err)
			}
		})
	}
	all.Wait()
}

// An address that another server took, of which no watch told yet, is the other's; who did not ask for it gets the next.
func TestAnotherServerWasFaster(t *testing.T) {
	w := newWorld(t, address("10.96.0.2", "theirs"), service("theirs"))
	w.addresses.mark(netip.MustParseAddr("10.96.0.1"), true)
	taken := map[string]bool{}
	for i := range 3 {
		taken[w.take(fmt.Sprint("s", i), "")] = true
	}
	if taken["10.96.0.2"] || len(taken) != 3 || w.parent("10.96.0.2") != "theirs" {
		t.Errorf("gave %v, and 10.96.0.2 is of %q", taken, w.parent("10.96.0.2"))
	}
	if _, _, err := w.begin("asks", "10.96.0.2"); !errors.Is(err, ipallocator.ErrAllocated) || w.parent("10.96.0.2") != "theirs" {
		t.Errorf("asked for another's address: %v, and it is of %q", err, w.parent("10.96.0.2"))
	}
}

// What another server gives back this moment is waited for.
func TestAnotherServerGivesItBack(t *testing.T) {
	w := newWorld(t, address("10.96.0.5", "gone"))
	asked := 0
	w.etcd.PrependReactor("get", "services", func(clienttesting.Action) (bool, runtime.Object, error) {
		if asked++; asked == 2 {
			if err := w.etcd.Tracker().Delete(networkingv1.SchemeGroupVersion.WithResource("ipaddresses"), "", "10.96.0.5"); err != nil {
				t.Error(err)
			}
		}
		return false, nil, nil
	})
	w.take("next", "10.96.0.5")
	if got := w.parent("10.96.0.5"); got != "next" {
		t.Errorf("10.96.0.5 is of %q", got)
	}
}

// A Service that is not stored after all gives its address back, and who asks for the same one gets it.
func TestGivenBackAndTakenAgain(t *testing.T) {
	w := newWorld(t)
	for i := range 20 {
		_, finish, err := w.begin(fmt.Sprint("failed", i), "10.96.0.9")
		if err != nil {
			t.Fatal(err)
		}
		finish(t.Context(), false)
	}
	w.take("last", "10.96.0.9")
	if got := w.parent("10.96.0.9"); got != "last" {
		t.Errorf("10.96.0.9 is of %q", got)
	}
}

// An etcd that fails: the Service is refused, and the address is free for the next.
func TestNotTakenAfterAll(t *testing.T) {
	w := newWorld(t)
	fails := true
	w.etcd.PrependReactor("create", "ipaddresses", func(clienttesting.Action) (bool, runtime.Object, error) {
		return fails, nil, errors.New("no quorum")
	})
	if _, _, err := w.begin("first", ""); !apierrors.IsInternalError(err) {
		t.Errorf("the Service is not refused: %v", err)
	}
	fails = false
	first := w.take("second", "")
	w.addresses.mu.Lock()
	defer w.addresses.mu.Unlock()
	if len(w.addresses.reserved) != 0 || len(w.addresses.taken) != 1 {
		t.Errorf("after %s was taken: reserved %v, taken %v", first, w.addresses.reserved, w.addresses.taken)
	}
}
