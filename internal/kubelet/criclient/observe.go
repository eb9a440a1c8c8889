// SPDX-License-Identifier: Apache-2.0

package criclient

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"eastwest/internal/kubelet/podstate"
)

// Observe asks the runtime for all sandboxes and containers of one pod. Things that vanish while it asks are left out.
func (c *Client) Observe(ctx context.Context, uid string) (*podstate.State, error) {
	if err := c.identify(ctx); err != nil {
		return nil, err
	}
	selector := map[string]string{podstate.LabelPodUID: uid}
	state := &podstate.State{UID: uid}
	sandboxes, err := c.Runtime.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{
		Filter: &runtimeapi.PodSandboxFilter{LabelSelector: selector}})
	if err != nil {
		return nil, fmt.Errorf("list the sandboxes of pod %s: %w", uid, err)
	}
	for _, s := range sandboxes.GetItems() {
		if err := c.addSandbox(ctx, state, s); err != nil {
			return nil, err
		}
	}
	containers, err := c.Runtime.ListContainers(ctx, &runtimeapi.ListContainersRequest{
		Filter: &runtimeapi.ContainerFilter{LabelSelector: selector}})
	if err != nil {
		return nil, fmt.Errorf("list the containers of pod %s: %w", uid, err)
	}
	for _, item := range containers.GetContainers() {
		if err := c.addContainer(ctx, state, item); err != nil {
			return nil, err
		}
	}
	state.Sort()
	return state, nil
}

func (c *Client) addSandbox(ctx context.Context, state *podstate.State, item *runtimeapi.PodSandbox) error {
	resp, err := c.Runtime.PodSandboxStatus(ctx, &runtimeapi.PodSandboxStatusRequest{PodSandboxId: item.GetId()})
	if status.Code(err) == codes.NotFound {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the status of sandbox %s: %w", item.GetId(), err)
	}
	s := resp.GetStatus()
	state.Name, state.Namespace = s.GetMetadata().GetName(), s.GetMetadata().GetNamespace()
	sandbox := podstate.Sandbox{
		ID: s.GetId(), Attempt: s.GetMetadata().GetAttempt(), CreatedAt: moment(s.GetCreatedAt()),
		Ready:       s.GetState() == runtimeapi.PodSandboxState_SANDBOX_READY,
		HostNetwork: s.GetLinux().GetNamespaces().GetOptions().GetNetwork() == runtimeapi.NamespaceMode_NODE,
	}
	sandbox.IPs = primaryFirst(SandboxIPs(s), c.IPv6First)
	state.Sandboxes = append(state.Sandboxes, sandbox)
	return nil
}

// SandboxIPs returns the addresses of a sandbox's own network, its first address first; nil without any.
func SandboxIPs(s *runtimeapi.PodSandboxStatus) []string {
	var ips []string
	if ip := s.GetNetwork().GetIp(); ip != "" {
		ips = append(ips, ip)
	}
	for _, more := range s.GetNetwork().GetAdditionalIps() {
		ips = append(ips, more.GetIp())
	}
	return ips
}

// primaryFirst puts the addresses of the primary family first, each family's in their order.
func primaryFirst(ips []string, ipv6 bool) []string {
	rank := func(text string) int {
		if ip, err := netip.ParseAddr(text); err == nil && ip.Is6() == ipv6 {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(ips, func(a, b string) int { return rank(a) - rank(b) })
	return ips
}

func (c *Client) addContainer(ctx context.Context, state *podstate.State, item *runtimeapi.Container) error {
	resp, err := c.Runtime.ContainerStatus(ctx, &runtimeapi.ContainerStatusRequest{ContainerId: item.GetId()})
	if status.Code(err) == codes.NotFound {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the status of container %s: %w", item.GetId(), err)
	}
	if state.Name == "" {
		state.Name, state.Namespace = item.GetLabels()[podstate.LabelPodName], item.GetLabels()[podstate.LabelPodNamespace]
	}
	state.Containers = append(state.Containers, container(item.GetPodSandboxId(), resp.GetStatus()))
	return nil
}

func container(sandbox string, s *runtimeapi.ContainerStatus) podstate.Container {
	restarts, err := strconv.Atoi(s.GetAnnotations()[podstate.AnnotationRestartCount])
	if err != nil {
		restarts = int(s.GetMetadata().GetAttempt())
	}
	image := s.GetImage().GetUserSpecifiedImage()
	if image == "" {
		image = s.GetImage().GetImage()
	}
	return podstate.Container{
		ID: s.GetId(), SandboxID: sandbox, Name: s.GetMetadata().GetName(),
		Hash: s.GetAnnotations()[podstate.AnnotationHash], Restarts: restarts, State: s.GetState(),
		Created: moment(s.GetCreatedAt()), Started: moment(s.GetStartedAt()), Finished: moment(s.GetFinishedAt()),
		ExitCode: s.GetExitCode(), Reason: s.GetReason(), Message: s.GetMessage(),
		Image: image, ImageID: s.GetImageRef(), LogPath: s.GetLogPath(), User: s.GetUser(),
		Annotations: s.GetAnnotations(), Mounts: s.GetMounts(),
	}
}

// moment turns CRI's nanoseconds into a time; the zero stands for "not yet".
func moment(nanoseconds int64) time.Time {
	if nanoseconds <= 0 {
		return time.Time{}
	}
	return time.Unix(0, nanoseconds)
}

// Pods lists the pods that the runtime holds anything of, by UID. Only names and UIDs are filled in.
func (c *Client) Pods(ctx context.Context) (map[string]podstate.State, error) {
	found := map[string]podstate.State{}
	add := func(labels map[string]string) {
		if uid := labels[podstate.LabelPodUID]; uid != "" {
			found[uid] = podstate.State{UID: uid, Name: labels[podstate.LabelPodName], Namespace: labels[podstate.LabelPodNamespace]}
		}
	}
	sandboxes, err := c.Runtime.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{})
	if err != nil {
		return nil, fmt.Errorf("list sandboxes: %w", err)
	}
	for _, s := range sandboxes.GetItems() {
		add(s.GetLabels())
	}
	containers, err := c.Runtime.ListContainers(ctx, &runtimeapi.ListContainersRequest{})
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	for _, item := range containers.GetContainers() {
		add(item.GetLabels())
	}
	return found, nil
}
