// SPDX-License-Identifier: Apache-2.0

package criclient

import (
	"context"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Exec runs a command in a container to its end and returns what it printed and its exit code.
func (c *Client) Exec(ctx context.Context, containerID string, command []string, timeout time.Duration) ([]byte, int32, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout+time.Second) // the runtime ends the command; we do not wait for it forever
	defer cancel()
	answer, err := c.Runtime.ExecSync(ctx, &runtimeapi.ExecSyncRequest{
		ContainerId: containerID, Cmd: command, Timeout: max(int64(timeout/time.Second), 1)})
	if err != nil {
		return nil, 0, err
	}
	return append(answer.GetStdout(), answer.GetStderr()...), answer.GetExitCode(), nil
}
