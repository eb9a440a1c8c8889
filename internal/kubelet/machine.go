// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"

	"eastwest/internal/kubelet/eviction"
	"eastwest/internal/kubelet/shutdown"
)

// watchMachine makes what ends the pods before the machine goes down.
func (k *Kubelet) watchMachine() *shutdown.Manager {
	return shutdown.New(shutdown.Config{
		Periods: k.config.Shutdown, Pods: k.unfinishedPods, Log: k.config.Log,
		End: func(p *corev1.Pod, seconds int64) <-chan struct{} {
			return k.pods.Terminate(p.UID, shutdown.Reason, shutdown.Message, seconds)
		},
		Store: func(ctx context.Context, pods []*corev1.Pod) {
			for _, p := range pods {
				if err := k.pods.Store(ctx, p.UID); err != nil {
					k.config.Log.Warn("the end of a pod is not stored", "pod", p.Namespace+"/"+p.Name, "error", err)
				}
			}
		},
		Changed: func() { k.node.Look() },
		Event:   func(message string) { k.events.Node(corev1.EventTypeNormal, "NodeShutdown", "%s", message) },
	})
}

// followMachine waits for the machine's login manager to say that it goes down.
func (k *Kubelet) followMachine(ctx context.Context) {
	if !k.shutdown.Enabled() {
		return
	}
	logind := k.config.Logind
	logind.Log = k.config.Log
	logind.Follow(ctx, k.shutdown)
}

// ShutDown ends the node's pods as the machine's shutdown does, and returns when they have ended or have had their time. The node takes no
// pods any more.
func (k *Kubelet) ShutDown(ctx context.Context) {
	if !k.shutdown.Enabled() || !k.assembled.Load() {
		return
	}
	select {
	case <-k.shutdown.Begin(ctx):
	case <-ctx.Done():
	}
	k.node.Flush(ctx)
}

// refuse says why the node takes no such pod now, or nothing.
func (k *Kubelet) refuse(pod *corev1.Pod, bestEffort bool) (reason, message string) {
	if k.shutdown.ShuttingDown() {
		return shutdown.RefusedReason, shutdown.RefusedMessage
	}
	if message = k.eviction.Refuse(pod, bestEffort); message != "" {
		reason = eviction.Reason
	}
	return reason, message
}

// unfinishedPods are those of which anything may run, or is about to. A kubelet that has just started waits for the API's list.
func (k *Kubelet) unfinishedPods(ctx context.Context) []*corev1.Pod {
	select {
	case <-k.listed:
	case <-ctx.Done():
	}
	var pods []*corev1.Pod
	for _, v := range k.pods.Views() {
		if over := v.Pod.Status.Phase == corev1.PodSucceeded || v.Pod.Status.Phase == corev1.PodFailed; !over || v.State.AnyRunning() {
			pods = append(pods, v.Pod)
		}
	}
	return pods
}

// periods shows grace periods as a kubelet's configuration has them.
func periods(list shutdown.Periods) []map[string]any {
	out := []map[string]any{}
	for _, p := range list {
		out = append(out, map[string]any{"priority": p.Priority, "shutdownGracePeriodSeconds": int64(p.Grace / time.Second)})
	}
	return out
}
