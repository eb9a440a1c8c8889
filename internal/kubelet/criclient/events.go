// SPDX-License-Identifier: Apache-2.0

package criclient

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"eastwest/internal/kubelet/podstate"
)

// Events calls changed with the UID of each pod in which a container was created, started, stopped or removed, until the
// stream breaks or ctx ends; the error says why. An empty UID means that the runtime did not say which pod.
func (c *Client) Events(ctx context.Context, changed func(uid string)) error {
	stream, err := c.Runtime.GetContainerEvents(ctx, &runtimeapi.GetEventsRequest{})
	if err != nil {
		return fmt.Errorf("subscribe to container events: %w", err)
	}
	for {
		event, err := stream.Recv()
		if err != nil {
			return fmt.Errorf("receive container events: %w", err)
		}
		uid := event.GetPodSandboxStatus().GetMetadata().GetUid()
		for _, s := range event.GetContainersStatuses() {
			if uid == "" {
				uid = s.GetLabels()[podstate.LabelPodUID]
			}
		}
		changed(uid)
	}
}

// Fingerprints returns a short text for each pod that changes whenever one of its sandboxes or containers changes state: the relist
// that stands in for the event stream of runtimes that have none.
func (c *Client) Fingerprints(ctx context.Context) (map[string]string, error) {
	parts := map[string][]string{}
	sandboxes, err := c.Runtime.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{})
	if err != nil {
		return nil, fmt.Errorf("list sandboxes: %w", err)
	}
	for _, s := range sandboxes.GetItems() {
		uid := s.GetLabels()[podstate.LabelPodUID]
		parts[uid] = append(parts[uid], fmt.Sprintf("%s=%d", s.GetId(), s.GetState()))
	}
	containers, err := c.Runtime.ListContainers(ctx, &runtimeapi.ListContainersRequest{})
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	for _, item := range containers.GetContainers() {
		uid := item.GetLabels()[podstate.LabelPodUID]
		parts[uid] = append(parts[uid], fmt.Sprintf("%s=%d", item.GetId(), item.GetState()))
	}
	prints := make(map[string]string, len(parts))
	for uid := range maps.Keys(parts) {
		slices.Sort(parts[uid])
		prints[uid] = strings.Join(parts[uid], " ")
	}
	return prints, nil
}
