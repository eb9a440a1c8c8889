// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"
	"os"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// leaseName is the Lease in kube-system that the server holds whose controllers run.
const leaseName = "eastwest-controllers"

// Times of the election: kube-controller-manager's defaults.
const (
	leaseLife     = 15 * time.Second
	renewDeadline = 10 * time.Second
	retryPeriod   = 2 * time.Second

	namespacePause = 20 * time.Millisecond
)

// elected calls lead while this process holds the Lease, and gives that up when ctx ends. A process that loses it ends lead
// and stands again.
func elected(ctx context.Context, client kubernetes.Interface, lead func(context.Context) error) error {
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("name this server for the election: %w", err)
	}
	lock := &resourcelock.LeaseLock{
		LeaseMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: leaseName},
		Client:    client.CoordinationV1(),
		// Two servers of one machine are two candidates.
		LockConfig: resourcelock.ResourceLockConfig{Identity: host + "_" + rand.String(10)},
	}
	awaitNamespace(ctx, client)
	for ctx.Err() == nil {
		if err := term(ctx, lock, lead); err != nil {
			return err
		}
	}
	return nil
}

// awaitNamespace returns when there is a place for the Lease. The API server makes the namespace a moment after its start, and a candidate that is refused
// stands aside for a whole period, in which nobody leads.
func awaitNamespace(ctx context.Context, client kubernetes.Interface) {
	for ctx.Err() == nil {
		_, err := client.CoreV1().Namespaces().Get(ctx, metav1.NamespaceSystem, metav1.GetOptions{})
		if !apierrors.IsNotFound(err) {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(namespacePause):
		}
	}
}

// term stands for election, and leads until the Lease is lost, ctx ends or lead fails. The Lease is given up after lead
// returned, so that no two lead at once.
func term(ctx context.Context, lock resourcelock.Interface, lead func(context.Context) error) error {
	standing, resign := context.WithCancel(context.WithoutCancel(ctx))
	began, ended := make(chan context.Context, 1), make(chan error, 1)
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: lock, LeaseDuration: leaseLife, RenewDeadline: renewDeadline, RetryPeriod: retryPeriod,
		ReleaseOnCancel: true, Name: leaseName,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(held context.Context) { began <- held },
			OnStoppedLeading: func() {},
		},
	})
	if err != nil {
		resign()
		return fmt.Errorf("make the election of a leader: %w", err)
	}
	go func() {
		defer resign()
		select {
		case held := <-began:
			leading, stop := context.WithCancel(ctx)
			defer stop()
			defer context.AfterFunc(held, stop)()
			ended <- lead(leading)
		case <-ctx.Done():
			ended <- nil
		}
	}()
	elector.Run(standing)
	return <-ended
}
