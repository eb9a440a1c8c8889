// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"
	clientexec "k8s.io/client-go/util/exec"
	"k8s.io/streaming/pkg/httpstream"
)

// execIn runs a command in a pod's first container and returns its stdout, over WebSocket, or SPDY where the server
// knows nothing else. A command that ran and failed is no error: what it printed says why.
func (d *Demo) execIn(ctx context.Context, pod *corev1.Pod, command ...string) ([]byte, error) {
	request := d.client.CoreV1().RESTClient().Post().Resource("pods").Namespace(pod.Namespace).Name(pod.Name).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{
			Container: pod.Spec.Containers[0].Name, Command: command, Stdout: true, Stderr: true,
		}, scheme.ParameterCodec)
	socket, err := remotecommand.NewWebSocketExecutor(d.config.API, "GET", request.URL().String())
	if err != nil {
		return nil, err
	}
	spdy, err := remotecommand.NewSPDYExecutor(d.config.API, "POST", request.URL())
	if err != nil {
		return nil, err
	}
	executor, err := remotecommand.NewFallbackExecutor(socket, spdy, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	})
	if err != nil {
		return nil, err
	}
	var stdout, stderr bytes.Buffer
	err = executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: &stdout, Stderr: &stderr})
	var code clientexec.CodeExitError
	answered := errors.As(err, &code) && stdout.Len() > 0
	if err != nil && !answered {
		return nil, fmt.Errorf("run %q in pod %s: %w: %s", strings.Join(command, " "), pod.Name, err, strings.TrimSpace(stderr.String()))
	}
	return stdout.Bytes(), nil
}

// NodeExec returns a RunOnNode that uses `eastwest node exec` of the program at path, for the local cluster of a name. A
// command that printed something ran, whatever its exit code.
func NodeExec(program, cluster string) func(context.Context, string, ...string) ([]byte, error) {
	return func(ctx context.Context, node string, command ...string) ([]byte, error) {
		args := append([]string{"node", "exec", "--name", cluster, node, "--"}, command...)
		var stdout, stderr bytes.Buffer
		cmd := exec.CommandContext(ctx, program, args...)
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		err := cmd.Run()
		if err != nil && stdout.Len() == 0 {
			return nil, fmt.Errorf("run %q on node %s: %w: %s", strings.Join(command, " "), node, err, strings.TrimSpace(stderr.String()))
		}
		return stdout.Bytes(), nil
	}
}
