// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"context"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"eastwest/internal/kubelet/eviction"
	"eastwest/internal/kubelet/node"
	"eastwest/internal/kubelet/podstate"
)

// watchOver makes what looks after the node's memory, disk and process ids.
func (k *Kubelet) watchOver() (*eviction.Manager, error) {
	thresholds, err := eviction.ParseThresholds(k.config.Eviction.Hard)
	if err != nil {
		return nil, err
	}
	soft, err := eviction.ParseSoft(k.config.Eviction.Soft, k.config.Eviction.SoftGrace)
	if err != nil {
		return nil, err
	}
	return eviction.New(eviction.Config{
		Thresholds: append(thresholds, soft...), MaxPodGrace: time.Duration(k.config.Eviction.MaxPod) * time.Second,
		Period: k.config.Eviction.Period, Keep: k.config.Eviction.Transition,
		Observe: k.readings, Pods: k.livePods, Usage: k.usage, EmptyDir: k.emptyDirSize, Reclaim: k.reclaim,
		Evict: func(p *corev1.Pod, message string, grace time.Duration) {
			k.pods.Evict(p.UID, eviction.Reason, message, int64(grace/time.Second))
		},
		Log: k.config.Log,
	}), nil
}

func (k *Kubelet) readings() map[eviction.Signal]eviction.Reading {
	memory, available := node.Memory()
	disk, free, inodes, inodesFree := node.Disk(k.config.RootDir)
	processes, limit := node.Processes()
	return map[eviction.Signal]eviction.Reading{
		eviction.MemoryAvailable:  {Available: available, Capacity: memory},
		eviction.NodefsAvailable:  {Available: free, Capacity: disk},
		eviction.NodefsInodesFree: {Available: inodesFree, Capacity: inodes},
		eviction.PIDAvailable:     {Available: limit - processes, Capacity: limit},
	}
}

// livePods are those of which something is here; whether others may come is another question.
func (k *Kubelet) livePods() []*corev1.Pod {
	var pods []*corev1.Pod
	for _, v := range k.pods.Views() {
		if len(v.State.Sandboxes) > 0 {
			pods = append(pods, v.Pod)
		}
	}
	return pods
}

// usage measures what pods use of a resource. What the runtime does not tell counts as nothing.
func (k *Kubelet) usage(ctx context.Context, of corev1.ResourceName, pods []*corev1.Pod) map[types.UID]eviction.Usage {
	out := map[types.UID]eviction.Usage{}
	var stats []*runtimeapi.ContainerStats
	if of != "pids" {
		answer, err := k.cri.Runtime.ListContainerStats(ctx, &runtimeapi.ListContainerStatsRequest{})
		if err != nil {
			k.config.Log.Warn("what containers use is not known", "error", err)
		}
		stats = answer.GetStats()
	}
	for _, p := range pods {
		u := eviction.Usage{Containers: map[string]int64{}}
		for _, s := range stats {
			if labels := s.GetAttributes().GetLabels(); labels[podstate.LabelPodUID] == string(p.UID) {
				u.Containers[labels[podstate.LabelContainerName]] += used(s, of)
			}
		}
		switch of {
		case "pids":
			u.Pod = k.cgroups.Processes(k.renderNode().CgroupParent(p))
		case corev1.ResourceMemory:
		default:
			u.Pod = k.onDisk(p, of, u.Containers)
		}
		for _, n := range u.Containers {
			u.Pod += n
		}
		out[p.UID] = u
	}
	return out
}

func used(s *runtimeapi.ContainerStats, of corev1.ResourceName) int64 {
	switch of {
	case corev1.ResourceMemory:
		return int64(s.GetMemory().GetWorkingSetBytes().GetValue())
	case corev1.ResourceEphemeralStorage:
		return int64(s.GetWritableLayer().GetUsedBytes().GetValue())
	}
	return int64(s.GetWritableLayer().GetInodesUsed().GetValue())
}

// onDisk adds containers' logs to what they use, and returns what the pod's volumes take.
func (k *Kubelet) onDisk(p *corev1.Pod, of corev1.ResourceName, containers map[string]int64) int64 {
	size := func(dir string) int64 {
		bytes, inodes := eviction.Size(dir)
		if of == corev1.ResourceEphemeralStorage {
			return bytes
		}
		return inodes
	}
	logs := k.renderNode().LogDirectory(p.Namespace, p.Name, string(p.UID))
	for i := range p.Spec.Containers {
		name := p.Spec.Containers[i].Name
		containers[name] += size(filepath.Join(logs, name))
	}
	total := int64(0)
	for i := range p.Spec.Volumes {
		if e := p.Spec.Volumes[i].EmptyDir; e != nil && e.Medium == corev1.StorageMediumDefault {
			total += size(k.volumes.Path(p, &p.Spec.Volumes[i]))
		}
	}
	return total
}

func (k *Kubelet) emptyDirSize(p *corev1.Pod, volume string) int64 {
	for i := range p.Spec.Volumes {
		if p.Spec.Volumes[i].Name == volume {
			bytes, _ := eviction.Size(k.volumes.Path(p, &p.Spec.Volumes[i]))
			return bytes
		}
	}
	return 0
}

// builtIn begins the names of images that no registry has.
const builtIn = "eastwest.local/"

// reclaim removes the images that no container is made of. Those that come with the agent stay.
func (k *Kubelet) reclaim(ctx context.Context) {
	images, err := k.cri.Images.ListImages(ctx, &runtimeapi.ListImagesRequest{})
	if err != nil {
		k.config.Log.Warn("unused images are not removed", "error", err)
		return
	}
	containers, err := k.cri.Runtime.ListContainers(ctx, &runtimeapi.ListContainersRequest{})
	if err != nil {
		k.config.Log.Warn("unused images are not removed", "error", err)
		return
	}
	keep := map[string]bool{}
	for _, c := range containers.GetContainers() {
		keep[c.GetImage().GetImage()], keep[c.GetImageRef()], keep[c.GetImageId()] = true, true, true
	}
	for _, image := range images.GetImages() {
		stays := image.GetPinned() || keep[image.GetId()]
		for _, name := range append(image.GetRepoTags(), image.GetRepoDigests()...) {
			stays = stays || keep[name] || strings.HasPrefix(name, builtIn)
		}
		if stays {
			continue
		}
		if _, err := k.cri.Images.RemoveImage(ctx, &runtimeapi.RemoveImageRequest{Image: &runtimeapi.ImageSpec{Image: image.GetId()}}); err != nil {
			k.config.Log.Warn("unused image not removed", "image", image.GetId(), "error", err)
		}
	}
}
