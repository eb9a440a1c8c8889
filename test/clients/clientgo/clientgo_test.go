// SPDX-License-Identifier: Apache-2.0

// Package clientgo uses a running cluster, that of KUBECONFIG, by client-go in the ways that controllers of other people do.
// It is run by the cluster's scripts.
package clientgo

import (
	"context"
	"os"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

func config(t *testing.T) *rest.Config {
	t.Helper()
	if os.Getenv("EASTWEST_CLIENTS") == "" {
		t.Skip("needs a cluster: EASTWEST_CLIENTS and KUBECONFIG name it, as the script 86-client-go sets them")
	}
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// namespace makes one that goes with the test.
func namespace(t *testing.T, client kubernetes.Interface) string {
	t.Helper()
	made, err := client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "clientgo-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.CoreV1().Namespaces().Delete(context.Background(), made.Name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	return made.Name
}

func await[T any](t *testing.T, what string, events <-chan T) T {
	t.Helper()
	select {
	case event := <-events:
		return event
	case <-time.After(30 * time.Second):
		t.Fatalf("waited 30 s for %s", what)
		panic("unreachable")
	}
}

func TestInformersSeeEveryChange(t *testing.T) {
	client := kubernetes.NewForConfigOrDie(config(t))
	ns := namespace(t, client)
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithNamespace(ns))
	events := make(chan string, 16)
	text := func(what string) func(any) {
		return func(object any) {
			if service, ok := object.(*corev1.Service); ok {
				events <- what + " " + service.Name + " " + string(service.Spec.Type)
			}
		}
	}
	services := factory.Core().V1().Services()
	if _, err := services.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: text("added"), DeleteFunc: text("deleted"), UpdateFunc: func(_, object any) { text("changed")(object) },
	}); err != nil {
		t.Fatal(err)
	}
	factory.Start(t.Context().Done())
	for kind, synced := range factory.WaitForCacheSync(t.Context().Done()) {
		if !synced {
			t.Fatalf("%s never synced", kind)
		}
	}
	object := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}
	made, err := client.CoreV1().Services(ns).Create(t.Context(), object, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if have := await(t, "the new Service", events); have != "added web ClusterIP" {
		t.Errorf("event %q", have)
	}
	made.Spec.Type = corev1.ServiceTypeNodePort
	if _, err := client.CoreV1().Services(ns).Update(t.Context(), made, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if have := await(t, "the changed Service", events); have != "changed web NodePort" {
		t.Errorf("event %q", have)
	}
	if listed, err := services.Lister().Services(ns).Get("web"); err != nil || listed.Spec.Ports[0].NodePort == 0 {
		t.Errorf("the lister has %v, %v", listed, err)
	}
	// An update from what was read before the last one is refused.
	if _, err := client.CoreV1().Services(ns).Update(t.Context(), made, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		t.Errorf("update of an old version: %v, want a conflict", err)
	}
	if err := client.CoreV1().Services(ns).Delete(t.Context(), "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if have := await(t, "the deleted Service", events); have != "deleted web NodePort" {
		t.Errorf("event %q", have)
	}
}

func TestLeadershipMovesWhenItIsReleased(t *testing.T) {
	client := kubernetes.NewForConfigOrDie(config(t))
	ns := namespace(t, client)
	leads := make(chan string, 4)
	run := func(name string) context.CancelFunc {
		ctx, stop := context.WithCancel(t.Context())
		lock := &resourcelock.LeaseLock{
			LeaseMeta: metav1.ObjectMeta{Namespace: ns, Name: "leader"}, Client: client.CoordinationV1(),
			LockConfig: resourcelock.ResourceLockConfig{Identity: name},
		}
		go leaderelection.RunOrDie(ctx, leaderelection.LeaderElectionConfig{
			Lock: lock, LeaseDuration: 15 * time.Second, RenewDeadline: 10 * time.Second, RetryPeriod: 500 * time.Millisecond, ReleaseOnCancel: true,
			Callbacks: leaderelection.LeaderCallbacks{OnStartedLeading: func(context.Context) { leads <- name }, OnStoppedLeading: func() {}},
		})
		return stop
	}
	stop := run("first")
	defer stop()
	if have := await(t, "a leader", leads); have != "first" {
		t.Fatalf("%s leads", have)
	}
	defer run("second")()
	stop()
	if have := await(t, "the next leader", leads); have != "second" {
		t.Fatalf("%s leads", have)
	}
}

func TestDynamicClientsServeCustomResources(t *testing.T) {
	client := dynamic.NewForConfigOrDie(config(t))
	definitions := client.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	definition := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": map[string]any{"name": "routes.clientgo.example.com"},
		"spec": map[string]any{
			"group": "clientgo.example.com", "scope": "Cluster", "names": map[string]any{"kind": "Route", "plural": "routes"},
			"versions": []any{map[string]any{
				"name": "v1", "served": true, "storage": true,
				"schema": map[string]any{"openAPIV3Schema": map[string]any{"type": "object", "properties": map[string]any{
					"spec": map[string]any{"type": "object", "properties": map[string]any{"metric": map[string]any{"type": "integer", "minimum": int64(1)}}},
				}}},
			}},
		},
	}}
	if _, err := definitions.Create(t.Context(), definition, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := definitions.Delete(context.Background(), definition.GetName(), metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	routes := client.Resource(schema.GroupVersionResource{Group: "clientgo.example.com", Version: "v1", Resource: "routes"})
	route := func(metric int64) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "clientgo.example.com/v1", "kind": "Route", "metadata": map[string]any{"name": "default"}, "spec": map[string]any{"metric": metric},
		}}
	}
	var err error
	for range 100 { // until the new kind is served
		if _, err = routes.Create(t.Context(), route(5), metav1.CreateOptions{}); !apierrors.IsNotFound(err) {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := routes.Apply(t.Context(), "default", route(0), metav1.ApplyOptions{FieldManager: "test", Force: true}); !apierrors.IsInvalid(err) {
		t.Errorf("a metric below the schema's minimum: %v, want it invalid", err)
	}
	watched, err := routes.Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer watched.Stop()
	if event := await(t, "the custom resource", watched.ResultChan()); event.Type != watch.Added {
		t.Errorf("event %s", event.Type)
	}
}

func TestServerSideApplyFindsConflicts(t *testing.T) {
	client := kubernetes.NewForConfigOrDie(config(t))
	ns := namespace(t, client)
	maps := client.CoreV1().ConfigMaps(ns)
	apply := func(manager, value string, force bool) error {
		_, err := maps.Apply(t.Context(), applycorev1.ConfigMap("shared", ns).WithData(map[string]string{"key": value, manager: "own"}),
			metav1.ApplyOptions{FieldManager: manager, Force: force})
		return err
	}
	if err := apply("first", "one", false); err != nil {
		t.Fatal(err)
	}
	if err := apply("second", "two", false); !apierrors.IsConflict(err) {
		t.Errorf("another's field: %v, want a conflict", err)
	}
	if err := apply("second", "two", true); err != nil {
		t.Fatal(err)
	}
	have, err := maps.Get(t.Context(), "shared", metav1.GetOptions{})
	if err != nil || have.Data["key"] != "two" || have.Data["first"] != "own" || have.Data["second"] != "own" {
		t.Errorf("data %v, %v", have.Data, err)
	}
}
