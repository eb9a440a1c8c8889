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

// certificates approves the requests of joining and renewing nodes, signs what is approved, and forgets old requests.
func certificates(ctx context.Context, s *shared) (func(context.Context), error) {
	requests := s.informers.Certificates().V1().CertificateSigningRequests()
	cert, key := s.Authority.Certificate, s.Authority.Key
	serving, err1 := signer.NewKubeletServingCSRSigningController(ctx, s.client, requests, cert, key, certificateLife)
	nodes, err2 := signer.NewKubeletClientCSRSigningController(ctx, s.client, requests, cert, key, certificateLife)
	clients, err3 := signer.NewKubeAPIServerClientCSRSigningController(ctx, s.client, requests, cert, key, certificateLife)
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	approving := approver.NewCSRApprovingController(ctx, s.client, requests)
	cleaning := cleaner.NewCSRCleanerController(s.client.CertificatesV1().CertificateSigningRequests(), requests)
	return func(ctx context.Context) {
		var running sync.WaitGroup
		for _, run := range []func(context.Context, int){serving.Run, nodes.Run, clients.Run, approving.Run, cleaning.Run} {
			running.Go(func() { run(ctx, workers) })
		}
		running.Wait()
	}, nil
}

// rootCA publishes the cluster's authority to every namespace, for pods to trust the API server by.
func rootCA(_ context.Context, s *shared) (func(context.Context), error) {
	core := s.informers.Core().V1()
	c, err := rootcacertpublisher.NewPublisher(core.ConfigMaps(), core.Namespaces(), s.client, s.RootCA)
	return func(ctx context.Context) { c.Run(ctx, 1) }, err
}
