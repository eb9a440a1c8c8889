// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/scale"
	"k8s.io/client-go/util/keyutil"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/controller/disruption"
	"k8s.io/kubernetes/pkg/controller/garbagecollector"
	"k8s.io/kubernetes/pkg/controller/namespace"
	"k8s.io/kubernetes/pkg/controller/nodelifecycle"
	"k8s.io/kubernetes/pkg/controller/podgc"
	"k8s.io/kubernetes/pkg/controller/serviceaccount"
	"k8s.io/kubernetes/pkg/controller/tainteviction"
	jwt "k8s.io/kubernetes/pkg/serviceaccount"
)

// The times of node lifecycle are kube-controller-manager's defaults: what people know a cluster to promise.
const (
	nodeMonitorPeriod      = 5 * time.Second
	nodeStartupGracePeriod = time.Minute
	nodeMonitorGracePeriod = 50 * time.Second
	nodeEvictionRate       = 0.1 // nodes a second
	largeCluster           = 50  // nodes
	unhealthyZone          = 0.55
)

func nodeLifecycle(ctx context.Context, s *shared) (func(context.Context), error) {
	core := s.informers.Core().V1()
	c, err := nodelifecycle.NewNodeLifecycleController(ctx, s.informers.Coordination().V1().Leases(), core.Pods(), core.Nodes(),
		s.informers.Apps().V1().DaemonSets(), s.client, nodeMonitorPeriod, nodeStartupGracePeriod, nodeMonitorGracePeriod,
		nodeEvictionRate, nodeEvictionRate/10, largeCluster, unhealthyZone)
	return func(ctx context.Context) { c.Run(ctx) }, err
}

func taintEviction(ctx context.Context, s *shared) (func(context.Context), error) {
	c, err := tainteviction.New(ctx, s.client, s.informers.Core().V1().Pods(), s.informers.Core().V1().Nodes(), "taint-eviction-controller")
	return func(ctx context.Context) { c.Run(ctx) }, err
}

func namespaces(ctx context.Context, s *shared) (func(context.Context), error) {
	c := namespace.NewNamespaceController(ctx, s.client, s.metadata, s.client.Discovery().ServerPreferredNamespacedResources,
		s.informers.Core().V1().Namespaces(), 5*time.Minute, corev1.FinalizerKubernetes)
	return func(ctx context.Context) { c.Run(ctx, 2*workers) }, nil
}

func serviceAccounts(ctx context.Context, s *shared) (func(context.Context), error) {
	core := s.informers.Core().V1()
	c, err := serviceaccount.NewServiceAccountsController(klog.FromContext(ctx), core.ServiceAccounts(), core.Namespaces(), s.client,
		serviceaccount.DefaultServiceAccountsControllerOptions())
	return func(ctx context.Context) { c.Run(ctx, 1) }, err
}

// serviceAccountTokens fills Secrets of type kubernetes.io/service-account-token.
func serviceAccountTokens(ctx context.Context, s *shared) (func(context.Context), error) {
	key, err := keyutil.PrivateKeyFromFile(s.ServiceAccountKey)
	if err != nil {
		return nil, fmt.Errorf("read the key that signs tokens: %w", err)
	}
	tokens, err := jwt.JWTTokenGenerator(jwt.LegacyIssuer, key)
	if err != nil {
		return nil, err
	}
	core := s.informers.Core().V1()
	c, err := serviceaccount.NewTokensController(klog.FromContext(ctx), core.ServiceAccounts(), core.Secrets(), s.client,
		serviceaccount.TokensControllerOptions{TokenGenerator: tokens, RootCA: s.RootCA})
	return func(ctx context.Context) { c.Run(ctx, workers) }, err
}

func podGarbage(ctx context.Context, s *shared) (func(context.Context), error) {
	c := podgc.NewPodGC(ctx, s.client, s.informers.Core().V1().Pods(), s.informers.Core().V1().Nodes(), 12500)
	return func(ctx context.Context) { c.Run(ctx) }, nil
}

func disruptionBudgets(ctx context.Context, s *shared) (func(context.Context), error) {
	scales, err := scale.NewForConfig(s.Client, s.mapper, dynamic.LegacyAPIPathResolverFunc,
		scale.NewDiscoveryScaleKindResolver(s.client.Discovery()))
	if err != nil {
		return nil, fmt.Errorf("make scale client: %w", err)
	}
	apps, core := s.informers.Apps().V1(), s.informers.Core().V1()
	c := disruption.NewDisruptionController(ctx, core.Pods(), s.informers.Policy().V1().PodDisruptionBudgets(), core.ReplicationControllers(),
		apps.ReplicaSets(), apps.Deployments(), apps.StatefulSets(), s.client, s.mapper, scales, s.client.Discovery())
	return c.Run, nil
}

// discoveryPeriod is how often the garbage collector looks for kinds that are new.
const discoveryPeriod = 30 * time.Second

func garbage(ctx context.Context, s *shared) (func(context.Context), error) {
	c, err := garbagecollector.NewGarbageCollector(ctx, s.client, s.metadata, s.mapper,
		garbagecollector.DefaultIgnoredResources(), s.objects, s.started)
	return func(ctx context.Context) {
		go c.Sync(ctx, s.client.Discovery(), discoveryPeriod)
		c.Run(ctx, 4*workers, discoveryPeriod)
	}, err
}
