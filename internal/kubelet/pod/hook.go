// SPDX-License-Identifier: Apache-2.0

package pod

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"eastwest/internal/kubelet/probe"
)

// hook runs a lifecycle handler to its end, or until ctx ends.
func (w *worker) hook(ctx context.Context, pod *corev1.Pod, spec *corev1.Container, id string, h *corev1.LifecycleHandler) error {
	switch {
	case h.Exec != nil:
		return w.hookExec(ctx, id, h.Exec.Command)
	case h.HTTPGet != nil:
		return w.hookHTTP(ctx, spec, h.HTTPGet)
	case h.Sleep != nil:
		return pause(ctx, time.Duration(h.Sleep.Seconds)*time.Second)
	}
	return errors.New("the lifecycle handler is none of exec, httpGet and sleep")
}

func (w *worker) hookExec(ctx context.Context, id string, command []string) error {
	request := &runtimeapi.ExecSyncRequest{ContainerId: id, Cmd: command}
	if deadline, ok := ctx.Deadline(); ok {
		request.Timeout = max(int64(time.Until(deadline).Seconds()), 1)
	}
	answer, err := w.m.config.CRI.Runtime.ExecSync(ctx, request)
	if err != nil {
		return fmt.Errorf("run %q: %w", command, err)
	}
	if code := answer.GetExitCode(); code != 0 {
		return fmt.Errorf("%q ended with exit code %d: %s%s", command, code, answer.GetStdout(), answer.GetStderr())
	}
	return nil
}

func (w *worker) hookHTTP(ctx context.Context, spec *corev1.Container, action *corev1.HTTPGetAction) error {
	w.mu.Lock()
	ips := w.facts().PodIPs
	w.mu.Unlock()
	if len(ips) == 0 {
		return errors.New("the pod has no address to ask")
	}
	request, err := probe.HTTPRequest(ctx, spec, action, ips[0], "lifecycle")
	if err != nil {
		return err
	}
	return call(request)
}

// call asks once; any answer will do. A server that was asked by HTTPS and speaks HTTP is asked again by HTTP, without what
// is secret, as the kubelet does for manifests from before it knew the scheme.
func call(request *http.Request) error {
	client := &http.Client{Transport: probe.Transport()}
	answer, err := client.Do(request)
	if err != nil && request.URL.Scheme == "https" && strings.Contains(err.Error(), "server gave HTTP response to HTTPS client") {
		plain := request.Clone(request.Context())
		plain.URL.Scheme = "http"
		plain.Header.Del("Authorization")
		answer, err = client.Do(plain)
	}
	if err != nil {
		return err
	}
	return answer.Body.Close()
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
