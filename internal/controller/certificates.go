// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"errors"
	"sync"
	"time"

	"k8s.io/kubernetes/pkg/controller/certificates/approver"
	"k8s.io/kubernetes/pkg/controller/certificates/cleaner"
	"k8s.io/kubernetes/pkg/controller/certificates/rootcacertpublisher"
	"k8s.io/kubernetes/pkg/controller/certificates/signer"
)

// certificateLife is how long a signed certificate is valid, kube-controller-manager's default.
const certificateLife = 365 * 24 * time.Hour

// signingOfRequests signs what is approved: for nodes and for clients of the API server.
func signingOfRequests(ctx context.Context, s *shared) (func(context.Context), error) {
	requests := s.informers.Certificates().V1().CertificateSigningRequests()
	cert, key := s.Authority.Certificate, s.Authority.Key
	serving, err1 := signer.NewKubeletServingCSRSigningController(ctx, s.client, requests, cert, key, certificateLife)
	nodes, err2 := signer.NewKubeletClientCSRSigningController(ctx, s.client, requests, cert, key, certificateLife)
	clients, err3 := signer.NewKubeAPIServerClientCSRSigningController(ctx, s.client, requests, cert, key, certificateLife)
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	return func(ctx context.Context) {
		var running sync.WaitGroup
		for _, run := range []func(context.Context, int){serving.Run, nodes.Run, clients.Run} {
			running.Go(func() { run(ctx, workers) })
		}
		running.Wait()
	}, nil
}

// approvalOfRequests approves the requests of joining and renewing nodes.
func approvalOfRequests(ctx context.Context, s *shared) (func(context.Context), error) {
	c := approver.NewCSRApprovingController(ctx, s.client, s.informers.Certificates().V1().CertificateSigningRequests())
	return func(ctx context.Context) { c.Run(ctx, workers) }, nil
}

// cleaningOfRequests forgets old requests.
func cleaningOfRequests(_ context.Context, s *shared) (func(context.Context), error) {
	c := cleaner.NewCSRCleanerController(s.client.CertificatesV1().CertificateSigningRequests(), s.informers.Certificates().V1().CertificateSigningRequests())
	return func(ctx context.Context) { c.Run(ctx, workers) }, nil
}

// rootCA publishes the cluster's authority to every namespace, for pods to trust the API server by.
func rootCA(_ context.Context, s *shared) (func(context.Context), error) {
	core := s.informers.Core().V1()
	c, err := rootcacertpublisher.NewPublisher(core.ConfigMaps(), core.Namespaces(), s.client, s.RootCA)
	return func(ctx context.Context) { c.Run(ctx, 1) }, err
}
