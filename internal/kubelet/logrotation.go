// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"context"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"eastwest/internal/kubelet/logs"
)

// rotatePeriod is how often logs are looked at, as Kubernetes does.
const rotatePeriod = 10 * time.Second

// rotateLogs keeps containers' logs from filling the disk.
func (k *Kubelet) rotateLogs(ctx context.Context) {
	every(ctx, rotatePeriod, func() { k.rotateOnce(ctx, logs.MaxSize) })
}

func (k *Kubelet) rotateOnce(ctx context.Context, size int64) {
	for _, v := range k.pods.Views() {
		for i := range v.State.Containers {
			c := &v.State.Containers[i]
			if !c.Running() || c.LogPath == "" {
				continue
			}
			err := logs.Rotate(c.LogPath, size, logs.MaxFiles, time.Now(), func() error {
				_, err := k.cri.Runtime.ReopenContainerLog(ctx, &runtimeapi.ReopenContainerLogRequest{ContainerId: c.ID})
				return err
			})
			if err != nil && ctx.Err() == nil {
				k.config.Log.Warn("log not rotated", "pod", v.Pod.Namespace+"/"+v.Pod.Name, "container", c.Name, "error", err)
			}
		}
	}
}
