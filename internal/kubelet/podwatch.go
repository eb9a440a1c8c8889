// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"context"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"eastwest/internal/client"
	"eastwest/internal/kubelet/podstate"
	"eastwest/internal/kubelet/render"
	"eastwest/internal/kubelet/static"
)

// orphanPause is how long to wait before asking a runtime again that did not answer.
const orphanPause = 200 * time.Millisecond

// watchPods hands every change of this node's pods to their workers, until ctx ends.
func (k *Kubelet) watchPods(ctx context.Context) {
	_, controller := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: client.Watched(k.config.Client.Core(), "pods", "", fields.OneTermEqualSelector("spec.nodeName", k.config.NodeName)),
		ObjectType:    &corev1.Pod{},
		Transform:     slim,
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc:    func(object any) { k.seen(object.(*corev1.Pod)) },
			UpdateFunc: func(before, object any) { k.replaced(before.(*corev1.Pod), object.(*corev1.Pod)) },
			DeleteFunc: func(object any) {
				if gone, ok := object.(cache.DeletedFinalStateUnknown); ok {
					object = gone.Obj
				}
				if p, ok := object.(*corev1.Pod); ok {
					k.gone(p)
				}
			},
		},
	})
	go func() {
		if cache.WaitForCacheSync(ctx.Done(), controller.HasSynced) {
			close(k.listed)
			k.static.Listed()
			k.removeOrphans(ctx)
		}
	}()
	controller.RunWithContext(ctx)
}

// replaced notices that a name now stands for another pod, which a watch that was interrupted reports as a change.
func (k *Kubelet) replaced(before, now *corev1.Pod) {
	if before.UID != now.UID {
		k.gone(before)
	}
	k.seen(now)
}

// seen takes what the API has of a pod: one to run, or the mirror of one that runs anyway.
func (k *Kubelet) seen(p *corev1.Pod) {
	if static.IsMirror(p) {
		k.static.Mirror(p)
		return
	}
	k.pods.Update(p)
}

func (k *Kubelet) gone(p *corev1.Pod) {
	if static.IsMirror(p) {
		k.static.MirrorGone(p)
		return
	}
	k.pods.Remove(p)
}

// slim drops what only the API server needs.
func slim(object any) (any, error) {
	if p, ok := object.(*corev1.Pod); ok {
		p.ManagedFields = nil
	}
	return object, nil
}

// removeOrphans ends what the runtime or the disk holds of pods that the API no longer knows. It is called once, after the first full
// list: before, every pod would look like an orphan.
func (k *Kubelet) removeOrphans(ctx context.Context) {
	for ctx.Err() == nil {
		found, err := k.cri.Pods(ctx)
		if err != nil {
			select {
			case <-ctx.Done():
			case <-time.After(orphanPause):
			}
			continue
		}
		k.orphansOnDisk(found)
		for uid := range found {
			if k.pods.Known(uid) {
				continue
			}
			if state, err := k.cri.Observe(ctx, uid); err == nil {
				k.config.Log.Info("ending a pod that the API does not know", "pod", state.Namespace+"/"+state.Name, "uid", uid)
				k.pods.Orphan(state)
			}
		}
		return
	}
}

// orphansOnDisk removes the directories of pods that neither the API nor the runtime knows.
func (k *Kubelet) orphansOnDisk(running map[string]podstate.State) {
	uids, err := k.volumes.Leftovers()
	if err != nil {
		k.config.Log.Warn("pod directories not listed", "error", err)
		return
	}
	for _, uid := range uids {
		if _, runs := running[uid]; runs || k.pods.Known(uid) || strings.HasPrefix(uid, ".") {
			continue
		}
		if err := k.volumes.Teardown(uid); err != nil {
			k.config.Log.Warn("directory of a former pod not removed", "uid", uid, "error", err)
		}
	}
}

// staticPods makes what runs the pods of the folder.
func (k *Kubelet) staticPods() *static.Source {
	return static.New(static.Config{
		Dir: k.config.StaticPodPath, Node: k.config.NodeName, Client: k.config.Client, Owner: k.node.UID,
		Run: k.pods.Update, End: k.pods.Remove, Known: k.pods.Known, Log: k.config.Log,
		Shown: func(p *corev1.Pod) {
			k.pods.Shown(p)
			k.pods.Wake(string(p.UID))
		},
	})
}

// shownAs returns the UID of the object that shows a pod in the API.
func (k *Kubelet) shownAs(p *corev1.Pod) (types.UID, bool) {
	if !render.IsStatic(p) {
		return p.UID, true
	}
	return k.static.MirrorOf(p)
}

func stateName(c *podstate.Container) string {
	switch c.State {
	case runtimeapi.ContainerState_CONTAINER_CREATED:
		return "created"
	case runtimeapi.ContainerState_CONTAINER_RUNNING:
		return "running"
	case runtimeapi.ContainerState_CONTAINER_EXITED:
		return "exited"
	}
	return "unknown"
}
