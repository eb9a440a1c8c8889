// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"sync"
	"time"

	apiextensionsscheme "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset/scheme"
	"k8s.io/apimachinery/pkg/runtime/schema"
	validatingpolicy "k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/cel/openapi/resolver"
	quota "k8s.io/apiserver/pkg/quota/v1/generic"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/kube-openapi/pkg/validation/spec"
	kubernetescontroller "k8s.io/kubernetes/pkg/controller"
	"k8s.io/kubernetes/pkg/controller/clusterroleaggregation"
	"k8s.io/kubernetes/pkg/controller/resourcequota"
	"k8s.io/kubernetes/pkg/controller/validatingadmissionpolicystatus"
	"k8s.io/kubernetes/pkg/generated/openapi"
	quotainstall "k8s.io/kubernetes/pkg/quota/v1/install"
)

// quotaPeriod is how often every ResourceQuota is counted anew, kube-controller-manager's default.
const quotaPeriod = 5 * time.Minute

// resourceQuotas counts what namespaces use. Admission holds requests to the counts, and can do so only once they exist.
func resourceQuotas(ctx context.Context, s *shared) (func(context.Context), error) {
	configuration, err := quotainstall.NewQuotaConfigurationForControllers(
		quota.ListerFuncForResourceFunc(s.informers.ForResource), s.informers)
	if err != nil {
		return nil, fmt.Errorf("list what quotas count: %w", err)
	}
	kinds := s.client.Discovery().ServerPreferredNamespacedResources
	c, err := resourcequota.NewController(ctx, &resourcequota.ControllerOptions{
		QuotaClient:               s.client.CoreV1(),
		ResourceQuotaInformer:     s.informers.Core().V1().ResourceQuotas(),
		ResyncPeriod:              kubernetescontroller.StaticResyncPeriodFunc(quotaPeriod),
		InformerFactory:           s.objects,
		ReplenishmentResyncPeriod: kubernetescontroller.NoResyncPeriodFunc,
		DiscoveryFunc:             kinds,
		IgnoredResourcesFunc:      configuration.IgnoredResources,
		InformersStarted:          s.started,
		Registry:                  quota.NewRegistry(configuration.Evaluators()),
		UpdateFilter:              quotainstall.DefaultUpdateFilter(),
	})
	return func(ctx context.Context) {
		go c.Sync(ctx, kinds, discoveryPeriod)
		c.Run(ctx, workers)
	}, err
}

// clusterRoles fills roles that are the sum of others: admin, edit and view grow with what extensions add.
func clusterRoles(_ context.Context, s *shared) (func(context.Context), error) {
	c := clusterroleaggregation.NewClusterRoleAggregation(s.informers.Rbac().V1().ClusterRoles(), s.client.RbacV1())
	return func(ctx context.Context) { c.Run(ctx, workers) }, nil
}

// admissionPolicies checks the types of ValidatingAdmissionPolicies and reports in their status what is wrong.
func admissionPolicies(_ context.Context, s *shared) (func(context.Context), error) {
	schemas := lateSchemas(func() resolver.SchemaResolver {
		return resolver.NewDefinitionsSchemaResolver(openapi.GetOpenAPIDefinitions, scheme.Scheme, apiextensionsscheme.Scheme).
			Combine(&resolver.ClientDiscoveryResolver{Discovery: s.client.Discovery()})
	})
	c, err := validatingadmissionpolicystatus.NewController(s.informers.Admissionregistration().V1().ValidatingAdmissionPolicies(),
		s.client.AdmissionregistrationV1().ValidatingAdmissionPolicies(),
		&validatingpolicy.TypeChecker{SchemaResolver: schemas, RestMapper: s.mapper})
	return func(ctx context.Context) { c.Run(ctx, workers) }, err
}

// lateSchemas makes a resolver when it is first asked: it keeps 6 MB, and most clusters have no policy.
func lateSchemas(build func() resolver.SchemaResolver) resolver.SchemaResolver {
	return lateResolver(sync.OnceValue(build))
}

type lateResolver func() resolver.SchemaResolver

func (r lateResolver) ResolveSchema(gvk schema.GroupVersionKind) (*spec.Schema, error) {
	return r().ResolveSchema(gvk)
}
