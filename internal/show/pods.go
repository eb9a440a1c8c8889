// SPDX-License-Identifier: Apache-2.0

// Package show lists what a node has, as it is at that moment: pods with their namespaces, veths and processes, and
// routes. Names come from the container runtime; all the rest is read from the kernel.
//
//	CRI: sandboxes ┐
//	kernel: namespaces, links, addresses, routes ┴▶ Pods, Routes ─▶ text or JSON
package show

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"eastwest/internal/kernel/attached"
	"eastwest/internal/kubelet/criclient"
)

// Config says where a node keeps what is listed.
type Config struct {
	Node     string // its name
	Runtime  string // CRI endpoint, unix:///path
	NetnsDir string // /run/netns
}

// runtimeTimeout bounds the wait for the container runtime.
const runtimeTimeout = 10 * time.Second

// Pod is a pod's sandbox on a node. Fields are only ever added to its JSON form.
type Pod struct {
	Namespace   string   `json:"namespace"`
	Name        string   `json:"name"`
	Node        string   `json:"node"`
	UID         string   `json:"uid,omitempty"`
	Sandbox     string   `json:"sandbox"`
	HostNetwork bool     `json:"hostNetwork,omitempty"` // it has the node's own network
	Addresses   []string `json:"addresses"`
	Interface   string   `json:"interface,omitempty"` // in the pod
	MTU         int      `json:"mtu,omitempty"`
	Netns       string   `json:"netns,omitempty"`  // path on the node
	Veth        string   `json:"veth,omitempty"`   // the node's end
	Bridge      string   `json:"bridge,omitempty"` // that the veth is a port of
	Processes   []int    `json:"processes,omitempty"`
}

// Key returns namespace/name.
func (p Pod) Key() string { return p.Namespace + "/" + p.Name }

// Pods lists the pods whose sandboxes are up, sorted by namespace and name.
func Pods(ctx context.Context, config Config) ([]Pod, error) {
	ctx, cancel := context.WithTimeout(ctx, runtimeTimeout)
	defer cancel()
	pods, err := sandboxes(ctx, config)
	if err != nil {
		return nil, err
	}
	namespaces, err := attached.List(config.NetnsDir)
	if err != nil {
		return nil, err
	}
	join(pods, namespaces)
	slices.SortFunc(pods, func(a, b Pod) int { return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name)) })
	return pods, nil
}

func sandboxes(ctx context.Context, config Config) ([]Pod, error) {
	client, err := criclient.Dial(config.Runtime, "", nil)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	ready := &runtimeapi.PodSandboxFilter{State: &runtimeapi.PodSandboxStateValue{State: runtimeapi.PodSandboxState_SANDBOX_READY}}
	list, err := client.Runtime.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{Filter: ready})
	if err != nil {
		return nil, fmt.Errorf("list pods at the container runtime %s (is the agent of this node running?): %w", config.Runtime, err)
	}
	pods := make([]Pod, 0, len(list.Items))
	for _, item := range list.Items {
		answer, err := client.Runtime.PodSandboxStatus(ctx, &runtimeapi.PodSandboxStatusRequest{PodSandboxId: item.Id})
		if status.Code(err) == codes.NotFound {
			continue // it went away between the two questions
		}
		if err != nil {
			return nil, fmt.Errorf("read pod sandbox %s: %w", item.Id, err)
		}
		pods = append(pods, podOf(config.Node, answer.GetStatus()))
	}
	return pods, nil
}

func podOf(node string, sandbox *runtimeapi.PodSandboxStatus) Pod {
	pod := Pod{
		Namespace: sandbox.GetMetadata().GetNamespace(), Name: sandbox.GetMetadata().GetName(), UID: sandbox.GetMetadata().GetUid(),
		Node: node, Sandbox: sandbox.GetId(), Addresses: []string{},
		HostNetwork: sandbox.GetLinux().GetNamespaces().GetOptions().GetNetwork() == runtimeapi.NamespaceMode_NODE,
	}
	if pod.HostNetwork {
		return pod
	}
	pod.Addresses = append(pod.Addresses, criclient.SandboxIPs(sandbox)...)
	return pod
}

// join finds each pod's namespace by the address that the runtime says it has: that holds with every CNI plugin.
func join(pods []Pod, namespaces []attached.Namespace) {
	type place struct {
		namespace attached.Namespace
		at        attached.Interface
	}
	byAddress := map[string]place{}
	for _, namespace := range namespaces {
		for _, at := range namespace.Interfaces {
			for _, address := range at.Addresses {
				byAddress[address.Addr().String()] = place{namespace, at}
			}
		}
	}
	for i := range pods {
		pod := &pods[i]
		for _, text := range pod.Addresses {
			address, err := netip.ParseAddr(text)
			if err != nil {
				continue
			}
			if found, ok := byAddress[address.Unmap().String()]; ok {
				pod.Netns, pod.Processes = found.namespace.Path, found.namespace.Processes
				pod.Interface, pod.MTU, pod.Veth, pod.Bridge = found.at.Name, found.at.MTU, found.at.Host, found.at.Bridge
				break
			}
		}
	}
}
