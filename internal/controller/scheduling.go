// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"fmt"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/events"
	"k8s.io/kubernetes/pkg/scheduler"
	"k8s.io/kubernetes/pkg/scheduler/profile"
)

// scheduling places pods on nodes: kube-scheduler with its default profile.
func scheduling(ctx context.Context, s *shared) (func(context.Context), error) {
	any, err := dynamic.NewForConfig(s.Client)
	if err != nil {
		return nil, fmt.Errorf("make dynamic client: %w", err)
	}
	custom := dynamicinformer.NewFilteredDynamicSharedInformerFactory(any, 0, "", nil)
	broadcaster := events.NewBroadcaster(&events.EventSinkImpl{Interface: s.client.EventsV1()})
	recorder := profile.NewRecorderFactory(broadcaster)
	c, err := scheduler.New(ctx, s.client, s.informers, custom, recorder)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) {
		if err := broadcaster.StartRecordingToSinkWithContext(ctx); err != nil {
			s.Log.ErrorContext(ctx, "start recording of scheduling events", "err", err)
		}
		defer broadcaster.Shutdown()
		custom.Start(ctx.Done())
		s.informers.WaitForCacheSync(ctx.Done())
		custom.WaitForCacheSync(ctx.Done())
		if err := c.WaitForHandlersSync(ctx); err != nil {
			return
		}
		c.Run(ctx)
	}, nil
}
