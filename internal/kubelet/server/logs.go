// SPDX-License-Identifier: Apache-2.0

package server

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"

	"eastwest/internal/kubelet/logs"
	"eastwest/internal/kubelet/pod"
	"eastwest/internal/kubelet/podstate"
)

// containerLogs writes a container's log as it was said.
func (s *Server) containerLogs(w http.ResponseWriter, r *http.Request) {
	v, ok := s.find(w, r)
	if !ok {
		return
	}
	query := r.URL.Query()
	options, err := logOptions(query, time.Now())
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	container := r.PathValue("container")
	c, err := logged(v, container, query.Get("previous") == "true")
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	flush := func() { _ = http.NewResponseController(w).Flush() }
	alive := func() bool {
		now, ok := s.config.Pods.Find(v.Pod.Namespace, v.Pod.Name, string(v.Pod.UID))
		if !ok {
			return false
		}
		still := now.State.ByID(c.ID)
		return still != nil && !still.Exited()
	}
	out := io.Writer(w)
	if err := logs.Read(r.Context(), c.LogPath, options, alive, out, out, flush); err != nil {
		fmt.Fprintf(w, "failed to read the log of container %q in pod %s/%s: %v\n", container, v.Pod.Namespace, v.Pod.Name, err)
	}
}

// logged chooses the container whose log is meant, in the words that kubectl shows when there is none.
func logged(v pod.View, name string, previous bool) (*podstate.Container, error) {
	if podstate.FindSpec(v.Pod, name) == nil {
		return nil, fmt.Errorf("container %s is not valid for pod %s", name, v.Pod.Name)
	}
	latest, before := v.State.Latest(name), v.State.Previous(name)
	if previous {
		if before == nil && latest != nil && latest.Exited() && waiting(v.Pod, name) != nil {
			before = latest
		}
		if before == nil {
			return nil, fmt.Errorf("previous terminated container %q in pod %q not found", name, v.Pod.Name)
		}
		return before, nil
	}
	if latest == nil || latest.Started.IsZero() {
		if before != nil {
			return before, nil
		}
		if w := waiting(v.Pod, name); w != nil && w.Reason != "" {
			if w.Reason == "ImagePullBackOff" || w.Reason == "ErrImagePull" {
				return nil, fmt.Errorf("container %q in pod %q is waiting to start: trying and failing to pull image", name, v.Pod.Name)
			}
			return nil, fmt.Errorf("container %q in pod %q is waiting to start: %v", name, v.Pod.Name, w.Reason)
		}
		return nil, fmt.Errorf("container %q in pod %q is not available", name, v.Pod.Name)
	}
	return latest, nil
}

func waiting(p *corev1.Pod, name string) *corev1.ContainerStateWaiting {
	for _, list := range [][]corev1.ContainerStatus{p.Status.ContainerStatuses, p.Status.InitContainerStatuses, p.Status.EphemeralContainerStatuses} {
		for i := range list {
			if list[i].Name == name {
				return list[i].State.Waiting
			}
		}
	}
	return nil
}

func logOptions(q url.Values, now time.Time) (logs.Options, error) {
	o := logs.Options{Follow: q.Get("follow") == "true", Timestamps: q.Get("timestamps") == "true", Tail: -1, Limit: -1}
	for name, target := range map[string]*int64{"tailLines": &o.Tail, "limitBytes": &o.Limit} {
		if text := q.Get(name); text != "" {
			n, err := strconv.ParseInt(text, 10, 64)
			if err != nil || n < 0 {
				return o, fmt.Errorf("%s must be a number that is not negative, not %q", name, text)
			}
			*target = n
		}
	}
	if text := q.Get("sinceSeconds"); text != "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 1 {
			return o, fmt.Errorf("sinceSeconds must be a positive number, not %q", text)
		}
		o.Since = now.Add(-time.Duration(n) * time.Second)
	}
	if text := q.Get("sinceTime"); text != "" {
		t, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return o, fmt.Errorf("sinceTime must be a time of RFC 3339, not %q", text)
		}
		o.Since = t
	}
	switch q.Get("stream") {
	case "Stdout":
		o.Stream = "stdout"
	case "Stderr":
		o.Stream = "stderr"
	}
	return o, nil
}
