// SPDX-License-Identifier: Apache-2.0

package render

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"eastwest/internal/kubelet/environment"
	"eastwest/internal/kubelet/podstate"
)

// Inputs are the parts of a container's configuration that had to be fetched or made first.
type Inputs struct {
	Restarts int
	ImageRef string                 // what the image service answered
	Env      []environment.Variable // in order
	Mounts   []*runtimeapi.Mount    // volumes, hosts file, termination message
	TargetID string                 // container whose process namespace an ephemeral container joins
}

// Container returns the configuration of one container.
func Container(pod *corev1.Pod, c *corev1.Container, node Node, in Inputs) *runtimeapi.ContainerConfig {
	config := &runtimeapi.ContainerConfig{
		Metadata:    &runtimeapi.ContainerMetadata{Name: c.Name, Attempt: uint32(in.Restarts)},
		Image:       &runtimeapi.ImageSpec{Image: in.ImageRef, UserSpecifiedImage: c.Image},
		Command:     environment.ExpandAll(c.Command, in.Env),
		Args:        environment.ExpandAll(c.Args, in.Env),
		WorkingDir:  c.WorkingDir,
		Mounts:      in.Mounts,
		Labels:      podstate.ContainerLabels(pod, c.Name),
		Annotations: podstate.ContainerAnnotations(pod, c, in.Restarts),
		LogPath:     LogPath(c.Name, in.Restarts),
		Stdin:       c.Stdin, StdinOnce: c.StdinOnce, Tty: c.TTY,
		Linux: &runtimeapi.LinuxContainerConfig{
			Resources: Resources(pod, c, node), SecurityContext: Security(pod, c, node)},
	}
	for _, v := range in.Env {
		config.Envs = append(config.Envs, &runtimeapi.KeyValue{Key: v.Name, Value: []byte(v.Value)})
	}
	if in.TargetID != "" {
		o := config.Linux.SecurityContext.NamespaceOptions
		o.Pid, o.TargetId = runtimeapi.NamespaceMode_TARGET, in.TargetID
	}
	if c.Lifecycle != nil && c.Lifecycle.StopSignal != nil {
		config.StopSignal = runtimeapi.Signal(runtimeapi.Signal_value[string(*c.Lifecycle.StopSignal)])
	}
	return config
}

// LogPath is where a container's log is, below its pod's log directory.
func LogPath(container string, restarts int) string {
	return fmt.Sprintf("%s/%d.log", container, restarts)
}
