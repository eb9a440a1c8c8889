// SPDX-License-Identifier: Apache-2.0

package pod

import (
	"os"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"eastwest/internal/kubelet/environment"
	"eastwest/internal/kubelet/logs"
	"eastwest/internal/kubelet/podstate"
	"eastwest/internal/kubelet/status"
)

// Bounds of a container's last words (Kubernetes, termination messages).
const (
	maxMessage      = 4096
	maxMessageLog   = 2048
	maxMessageLines = 80
)

// report works out the status and hands it on. The caller holds the lock.
func (w *worker) report() {
	input := status.Input{
		Pod: w.pod, Last: &w.last, State: w.state, Probes: w.m.config.Probes, Waiting: w.waiting, Starting: w.starting,
		Ended: w.over(), Reason: w.reason, Message: w.message, Refused: w.refused, HostIPs: w.hostIPs(),
		Runtime: w.m.config.Runtime(), Now: time.Now(), Applied: w.resizing.applied, Resize: w.resizeConditions(),
	}
	if w.leaving() {
		input.Waiting = nil
	}
	if w.reason == "" {
		input.Reason, input.Message = w.last.Reason, w.last.Message
	}
	next := status.Generate(input)
	if final(next.Phase) && !final(w.last.Phase) && w.state.AnyRunning() {
		next.Phase = w.last.Phase // a pod is over when the last of it has stopped
		if next.Phase == "" {
			next.Phase = corev1.PodPending
		}
	}
	w.last = next
	if !w.gone {
		w.m.config.Status.Set(w.pod, next)
	}
}

func final(phase corev1.PodPhase) bool {
	return phase == corev1.PodSucceeded || phase == corev1.PodFailed
}

func (w *worker) hostIPs() []string {
	var out []string
	for _, ip := range w.m.config.Node.IPs {
		out = append(out, ip.String())
	}
	return out
}

// probes tells the prober what runs. The caller holds the lock.
func (w *worker) probes() {
	if w.leaving() || w.reason != "" {
		w.m.config.Probes.EndLiveness(w.pod.UID)
	}
	ips := w.facts().PodIPs
	if len(ips) == 0 {
		return
	}
	w.m.config.Probes.Sync(w.pod, w.state, ips[0])
}

// facts are what the pod may learn of itself. The caller holds the lock.
func (w *worker) facts() environment.Facts {
	f := environment.Facts{HostIPs: w.hostIPs(), NodeName: w.m.config.Node.Name, Allocatable: w.m.config.Allocatable()}
	switch sandbox := w.state.ReadySandbox(); {
	case w.pod.Spec.HostNetwork:
		f.PodIPs = f.HostIPs
	case sandbox != nil:
		f.PodIPs = sandbox.IPs
	}
	return f
}

// lastWords fills in the messages that ended containers left.
func (w *worker) lastWords(state *podstate.State) {
	for i := range state.Containers {
		c := &state.Containers[i]
		if !c.Exited() {
			continue
		}
		text, known := w.messages[c.ID]
		if !known {
			text = lastWords(c)
			w.messages[c.ID] = text
		}
		if text != "" {
			c.Message = text
		}
	}
}

func lastWords(c *podstate.Container) string {
	text := ""
	for _, m := range c.Mounts {
		if m.GetContainerPath() == c.Annotations[podstate.AnnotationMessagePath] && m.GetContainerPath() != "" {
			text = head(m.GetHostPath())
		}
	}
	policy := corev1.TerminationMessagePolicy(c.Annotations[podstate.AnnotationMessagePolicy])
	if text == "" && c.ExitCode != 0 && policy == corev1.TerminationMessageFallbackToLogsOnError {
		var b strings.Builder
		if logs.Tail(c.LogPath, maxMessageLines, maxMessageLog, &b) == nil {
			text = b.String()
		}
	}
	return text
}

func head(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	buffer := make([]byte, maxMessage)
	n, _ := f.Read(buffer) // nothing to read is nothing said
	return string(buffer[:n])
}

// over reports that nothing of the pod will be started again. A pod that is being deleted, and of which nothing is left, was
// here before: something else, a finalizer say, keeps its object. The caller holds the lock.
func (w *worker) over() bool {
	return w.stage >= stopped || w.leaving() && len(w.state.Containers) == 0
}
