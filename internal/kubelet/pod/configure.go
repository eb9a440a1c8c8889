// SPDX-License-Identifier: Apache-2.0

package pod

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"eastwest/internal/kubelet/environment"
	"eastwest/internal/kubelet/image"
	"eastwest/internal/kubelet/podstate"
	"eastwest/internal/kubelet/render"
)

const hostsPath = "/etc/hosts"

// source answers environment variables' references on behalf of one pod.
type source struct {
	w   *worker
	uid string
}

var _ environment.Source = source{}

// ConfigMap returns a config map that the pod uses from now on.
func (s source) ConfigMap(ctx context.Context, namespace, name string) (*corev1.ConfigMap, error) {
	return s.w.m.config.Objects.ConfigMap(ctx, s.uid, namespace, name)
}

// Secret returns a secret that the pod uses from now on.
func (s source) Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error) {
	return s.w.m.config.Objects.Secret(ctx, s.uid, namespace, name)
}

// Services returns the services of a namespace.
func (s source) Services(namespace string) []*corev1.Service {
	return s.w.m.config.Services.In(namespace)
}

// File returns what is in a file of a volume of the pod.
func (s source) File(pod *corev1.Pod, volume, path string) (string, error) {
	return s.w.m.config.Volumes.File(pod, volume, path)
}

// configure works out everything that the container is made with.
func (w *worker) configure(ctx context.Context, pod *corev1.Pod, spec *corev1.Container, sandbox *podstate.Sandbox, found image.Found) (*runtimeapi.ContainerConfig, error) {
	if err := w.m.config.Services.Wait(ctx); err != nil {
		return nil, err
	}
	w.mu.Lock()
	facts, state := w.facts(), w.state
	w.mu.Unlock()
	if len(facts.PodIPs) == 0 {
		facts.PodIPs = sandbox.IPs
	}
	env, err := environment.Variables(ctx, pod, spec, facts, source{w, string(pod.UID)})
	if err != nil {
		return nil, err
	}
	if err := nonRoot(pod, spec, w.m.config.Node, found); err != nil {
		return nil, err
	}
	in := render.Inputs{Restarts: w.restarts(pod, state, spec.Name), ImageRef: found.Ref, Env: env, TargetID: target(pod, spec.Name, state)}
	if in.Mounts, err = w.mounts(ctx, pod, spec, in.Restarts, env, facts.PodIPs); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(w.m.config.Node.LogDirectory(pod.Namespace, pod.Name, string(pod.UID)), spec.Name), 0o755); err != nil {
		return nil, fmt.Errorf("make the log directory: %w", err)
	}
	return render.Container(pod, spec, w.m.config.Node, in), nil
}

func (w *worker) mounts(ctx context.Context, pod *corev1.Pod, spec *corev1.Container, restarts int, env []environment.Variable, ips []string) ([]*runtimeapi.Mount, error) {
	handler, err := w.m.config.Classes.Handler(ctx, pod.Spec.RuntimeClassName)
	if err != nil {
		return nil, err
	}
	mounts, err := w.m.config.Volumes.Mounts(pod, spec, env, w.m.config.RecursiveReadOnly(handler))
	if err != nil {
		return nil, err
	}
	own := map[string]bool{}
	for _, m := range mounts {
		own[m.GetContainerPath()] = true
	}
	if !own[hostsPath] {
		text := render.Hosts(pod, ips, w.m.config.Node.ClusterDomain, w.m.config.NodeHosts())
		path, err := w.m.config.Volumes.HostsFile(pod, text)
		if err != nil {
			return nil, err
		}
		mounts = append(mounts, &runtimeapi.Mount{ContainerPath: hostsPath, HostPath: path})
	}
	if p := spec.TerminationMessagePath; p != "" && !own[p] {
		path, err := w.m.config.Volumes.TerminationFile(pod, spec.Name, restarts)
		if err != nil {
			return nil, err
		}
		mounts = append(mounts, &runtimeapi.Mount{ContainerPath: p, HostPath: path})
	}
	return mounts, nil
}

// restarts numbers the container after all that came before it: in the runtime, in what was reported, and in the log directory.
func (w *worker) restarts(pod *corev1.Pod, state *podstate.State, name string) int {
	next := 0
	if c := state.Latest(name); c != nil {
		return c.Restarts + 1
	}
	dir := filepath.Join(w.m.config.Node.LogDirectory(pod.Namespace, pod.Name, string(pod.UID)), name)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return next
	}
	for _, e := range entries {
		number, _, _ := strings.Cut(e.Name(), ".log")
		if n, err := strconv.Atoi(number); err == nil {
			next = max(next, n+1)
		}
	}
	return next
}

// target returns the container whose processes an ephemeral container sees.
func target(pod *corev1.Pod, name string, state *podstate.State) string {
	for i := range pod.Spec.EphemeralContainers {
		if e := &pod.Spec.EphemeralContainers[i]; e.Name == name && e.TargetContainerName != "" {
			if c := state.Latest(e.TargetContainerName); c != nil {
				return c.ID
			}
		}
	}
	return ""
}

// nonRoot keeps a container that must not run as root from doing so.
func nonRoot(pod *corev1.Pod, spec *corev1.Container, node render.Node, found image.Found) error {
	if !render.RunAsNonRoot(pod, spec) {
		return nil
	}
	user := render.Security(pod, spec, node).GetRunAsUser()
	where := fmt.Sprintf("(pod: \"%s_%s(%s)\", container: %s)", pod.Name, pod.Namespace, pod.UID, spec.Name)
	switch {
	case user != nil && user.GetValue() == 0:
		return fmt.Errorf("container's runAsUser breaks non-root policy %s", where)
	case user != nil:
		return nil
	case found.UID != nil && *found.UID == 0, found.UID == nil && found.Username == "":
		return fmt.Errorf("container has runAsNonRoot and image will run as root %s", where)
	case found.UID == nil:
		return fmt.Errorf("container has runAsNonRoot and image has non-numeric user (%s), cannot verify user is non-root %s", found.Username, where)
	}
	return nil
}
