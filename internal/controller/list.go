// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/scheme"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/kubernetes/cmd/kube-controller-manager/names"
	"k8s.io/kubernetes/pkg/controller/cronjob"
	"k8s.io/kubernetes/pkg/controller/daemon"
	"k8s.io/kubernetes/pkg/controller/deployment"
	"k8s.io/kubernetes/pkg/controller/endpoint"
	"k8s.io/kubernetes/pkg/controller/endpointslice"
	"k8s.io/kubernetes/pkg/controller/endpointslicemirroring"
	"k8s.io/kubernetes/pkg/controller/job"
	"k8s.io/kubernetes/pkg/controller/replicaset"
	"k8s.io/kubernetes/pkg/controller/replication"
	"k8s.io/kubernetes/pkg/controller/servicecidrs"
	"k8s.io/kubernetes/pkg/controller/statefulset"
	"k8s.io/kubernetes/pkg/controller/ttlafterfinished"

	"eastwest/internal/controller/clusterdns"
	"eastwest/internal/controller/loadbalancer"
	"eastwest/internal/controller/nodecerts"
	"eastwest/internal/controller/podcidr"
)

// workers is how many objects of a kind each controller works on at once, kube-controller-manager's default.
const workers = 5

// maxEndpointsPerSlice is kube-controller-manager's default.
const maxEndpointsPerSlice = 100

// Names of what kube-controller-manager has not; the others have its names.
const (
	bootstrapController          = "node-bootstrap-controller"
	clusterDNSController         = "cluster-dns-controller"
	servingCertificateController = "node-serving-certificate-approving-controller"
	loadBalancerController       = "load-balancer-pool-controller"
	schedulerName                = "kube-scheduler"
)

type entry struct {
	name  string
	build func(context.Context, *shared) (func(context.Context), error)
}

// list names every controller that runs.
func list() []entry {
	return []entry{
		{bootstrapController, bootstrap},
		{names.NodeIpamController, podCIDRs},
		{clusterDNSController, dnsService},
		{servingCertificateController, servingCertificates},
		{names.CertificateSigningRequestSigningController, signingOfRequests},
		{names.CertificateSigningRequestApprovingController, approvalOfRequests},
		{names.CertificateSigningRequestCleanerController, cleaningOfRequests},
		{names.RootCACertificatePublisherController, rootCA},
		{names.ServiceAccountController, serviceAccounts},
		{names.ServiceAccountTokenController, serviceAccountTokens},
		{names.NamespaceController, namespaces},
		{schedulerName, scheduling},
		{names.NodeLifecycleController, nodeLifecycle},
		{names.TaintEvictionController, taintEviction},
		{names.DeploymentController, deployments},
		{names.ReplicaSetController, replicaSets},
		{names.ReplicationControllerController, replicationControllers},
		{names.DaemonSetController, daemonSets},
		{names.StatefulSetController, statefulSets},
		{names.JobController, jobs},
		{names.CronJobController, cronJobs},
		{names.TTLAfterFinishedController, ttlAfterFinished},
		{names.EndpointsController, endpoints},
		{names.EndpointSliceController, endpointSlices},
		{names.EndpointSliceMirroringController, endpointSliceMirroring},
		{names.ServiceCIDRController, serviceCIDRs},
		{loadBalancerController, loadBalancers},
		{names.DisruptionController, disruptionBudgets},
		{names.ResourceQuotaController, resourceQuotas},
		{names.ClusterRoleAggregationController, clusterRoles},
		{names.ValidatingAdmissionPolicyStatusController, admissionPolicies},
		{names.PodGarbageCollectorController, podGarbage},
		{names.GarbageCollectorController, garbage},
	}
}

func podCIDRs(_ context.Context, s *shared) (func(context.Context), error) {
	return podcidr.New(podcidr.Config{
		Client: s.client.CoreV1().Nodes(), Nodes: s.informers.Core().V1().Nodes(),
		ClusterCIDRs: s.ClusterCIDRs, BitsIPv4: s.NodeCIDRBits.IPv4, BitsIPv6: s.NodeCIDRBits.IPv6, Log: s.Log,
	})
}

func dnsService(_ context.Context, s *shared) (func(context.Context), error) {
	return clusterdns.New(s.client, s.informers.Core().V1().Nodes(), s.DNSAddresses, s.Log)
}

func servingCertificates(_ context.Context, s *shared) (func(context.Context), error) {
	return nodecerts.New(s.client, s.informers.Certificates().V1().CertificateSigningRequests(), s.informers.Core().V1().Nodes(), s.Log)
}

func loadBalancers(_ context.Context, s *shared) (func(context.Context), error) {
	if len(s.LoadBalancers) == 0 {
		return func(context.Context) {}, nil
	}
	events := record.NewBroadcaster()
	run, err := loadbalancer.New(loadbalancer.Config{
		Client: s.client.CoreV1(), Services: s.informers.Core().V1().Services(), Pool: s.LoadBalancers, Log: s.Log,
		Events: events.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "service-controller"}),
	})
	return func(ctx context.Context) {
		events.StartRecordingToSink(&corev1client.EventSinkImpl{Interface: s.client.CoreV1().Events("")})
		defer events.Shutdown()
		run(ctx)
	}, err
}

func deployments(ctx context.Context, s *shared) (func(context.Context), error) {
	apps := s.informers.Apps().V1()
	c, err := deployment.NewDeploymentController(ctx, apps.Deployments(), apps.ReplicaSets(), s.informers.Core().V1().Pods(), s.client)
	return func(ctx context.Context) { c.Run(ctx, workers) }, err
}

func replicaSets(ctx context.Context, s *shared) (func(context.Context), error) {
	c := replicaset.NewReplicaSetController(ctx, s.informers.Apps().V1().ReplicaSets(), s.informers.Core().V1().Pods(), s.client, replicaset.BurstReplicas)
	return func(ctx context.Context) { c.Run(ctx, workers) }, nil
}

func replicationControllers(ctx context.Context, s *shared) (func(context.Context), error) {
	core := s.informers.Core().V1()
	c := replication.NewReplicationManager(ctx, core.Pods(), core.ReplicationControllers(), s.client, replication.BurstReplicas)
	return func(ctx context.Context) { c.Run(ctx, workers) }, nil
}

func daemonSets(ctx context.Context, s *shared) (func(context.Context), error) {
	apps, core := s.informers.Apps().V1(), s.informers.Core().V1()
	c, err := daemon.NewDaemonSetsController(ctx, apps.DaemonSets(), apps.ControllerRevisions(), core.Pods(), core.Nodes(),
		s.client, flowcontrol.NewBackOff(time.Second, 15*time.Minute))
	return func(ctx context.Context) { c.Run(ctx, workers) }, err
}

func statefulSets(ctx context.Context, s *shared) (func(context.Context), error) {
	apps, core := s.informers.Apps().V1(), s.informers.Core().V1()
	c := statefulset.NewStatefulSetController(ctx, core.Pods(), apps.StatefulSets(), core.PersistentVolumeClaims(), apps.ControllerRevisions(), s.client)
	return func(ctx context.Context) { c.Run(ctx, workers) }, nil
}

func jobs(ctx context.Context, s *shared) (func(context.Context), error) {
	c, err := job.NewController(ctx, s.client, s.informers.Core().V1().Pods(), s.informers.Batch().V1().Jobs(), nil, nil)
	return func(ctx context.Context) { c.Run(ctx, workers) }, err
}

func cronJobs(ctx context.Context, s *shared) (func(context.Context), error) {
	batch := s.informers.Batch().V1()
	c, err := cronjob.NewControllerV2(ctx, batch.Jobs(), batch.CronJobs(), s.client)
	return func(ctx context.Context) { c.Run(ctx, workers) }, err
}

func ttlAfterFinished(ctx context.Context, s *shared) (func(context.Context), error) {
	c := ttlafterfinished.New(ctx, s.informers.Batch().V1().Jobs(), s.client)
	return func(ctx context.Context) { c.Run(ctx, workers) }, nil
}

func endpoints(ctx context.Context, s *shared) (func(context.Context), error) {
	core := s.informers.Core().V1()
	c := endpoint.NewEndpointController(ctx, core.Pods(), core.Services(), core.Endpoints(), s.readBack(), 0)
	return func(ctx context.Context) { c.Run(ctx, workers) }, nil
}

func endpointSlices(ctx context.Context, s *shared) (func(context.Context), error) {
	core := s.informers.Core().V1()
	slices, err := newIndexedSlices(s.informers.Discovery().V1().EndpointSlices())
	if err != nil {
		return nil, err
	}
	c := endpointslice.NewController(ctx, core.Pods(), core.Services(), core.Nodes(), slices,
		maxEndpointsPerSlice, s.readBack(), 0)
	return func(ctx context.Context) { c.Run(ctx, workers) }, nil
}

func endpointSliceMirroring(ctx context.Context, s *shared) (func(context.Context), error) {
	core := s.informers.Core().V1()
	slices, err := newIndexedSlices(s.informers.Discovery().V1().EndpointSlices())
	if err != nil {
		return nil, err
	}
	c := endpointslicemirroring.NewController(ctx, core.Endpoints(), slices, core.Services(),
		1000, s.readBack(), 0)
	return func(ctx context.Context) { c.Run(ctx, workers) }, nil
}

func serviceCIDRs(ctx context.Context, s *shared) (func(context.Context), error) {
	networking := s.informers.Networking().V1()
	c := servicecidrs.NewController(ctx, networking.ServiceCIDRs(), networking.IPAddresses(), s.client)
	return func(ctx context.Context) { c.Run(ctx, workers) }, nil
}
