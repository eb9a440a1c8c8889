// SPDX-License-Identifier: Apache-2.0

// Package controllerruntime runs a controller on a running cluster, that of KUBECONFIG, as people write them with
// controller-runtime. It is a module of its own, so that nobody else carries it.
package controllerruntime

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/config"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

// exposer gives every ConfigMap with the label expose a Service, which it owns.
type exposer struct{ client.Client }

func (e exposer) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	source := &corev1.ConfigMap{}
	if err := e.Get(ctx, request.NamespacedName, source); err != nil || source.Labels["expose"] == "" {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: source.Namespace, Name: source.Name}}
	_, err := controllerutil.CreateOrUpdate(ctx, e.Client, service, func() error {
		service.Spec.Selector = map[string]string{"app": source.Data["app"]}
		service.Spec.Ports = []corev1.ServicePort{{Port: 80, Protocol: corev1.ProtocolTCP}}
		return controllerutil.SetControllerReference(source, service, e.Scheme())
	})
	return ctrl.Result{}, err
}

func TestController(t *testing.T) {
	ctrl.SetLogger(zap.New())
	manager, err := ctrl.NewManager(config.GetConfigOrDie(), ctrl.Options{Metrics: server.Options{BindAddress: "0"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := ctrl.NewControllerManagedBy(manager).For(&corev1.ConfigMap{}).Owns(&corev1.Service{}).Complete(exposer{manager.GetClient()}); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	ctx, stop := context.WithCancel(t.Context())
	go func() { ended <- manager.Start(ctx) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	if !manager.GetCache().WaitForCacheSync(ctx) {
		t.Fatal("the caches never synced")
	}
	follow(ctx, t, manager.GetClient())
}

func follow(ctx context.Context, t *testing.T, c client.Client) {
	source := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "exposed", Labels: map[string]string{"expose": "yes"}}, Data: map[string]string{"app": "one"}}
	if err := c.Create(ctx, source); err != nil {
		t.Fatal(err)
	}
	service := &corev1.Service{}
	until(ctx, t, "the Service is there", func() bool {
		return c.Get(ctx, client.ObjectKeyFromObject(source), service) == nil && service.Spec.Selector["app"] == "one"
	})
	source.Data["app"] = "two"
	if err := c.Update(ctx, source); err != nil {
		t.Fatal(err)
	}
	until(ctx, t, "the Service follows", func() bool {
		return c.Get(ctx, client.ObjectKeyFromObject(source), service) == nil && service.Spec.Selector["app"] == "two"
	})
	if err := c.Delete(ctx, service); err != nil {
		t.Fatal(err)
	}
	until(ctx, t, "the deleted Service comes back", func() bool {
		again := &corev1.Service{}
		return c.Get(ctx, client.ObjectKeyFromObject(source), again) == nil && again.UID != service.UID
	})
	if err := c.Delete(ctx, source); err != nil {
		t.Fatal(err)
	}
	until(ctx, t, "the Service goes with its owner", func() bool {
		return apierrors.IsNotFound(c.Get(ctx, client.ObjectKeyFromObject(source), service))
	})
}

func until(ctx context.Context, t *testing.T, what string, done func() bool) {
	t.Helper()
	if err := wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, time.Minute, true, func(context.Context) (bool, error) { return done(), nil }); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}
