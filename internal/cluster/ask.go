// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"

	"eastwest/internal/cluster/machine"
)

// Ask runs one command on several nodes at once and returns what each printed, in their order.
func (c *Clusters) Ask(ctx context.Context, r *Record, nodes []Node, command ...string) ([][]byte, error) {
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("enter the nodes of cluster %s: this needs root: run it with sudo", r.Name)
	}
	answers := make([][]byte, len(nodes))
	var steps []func() error
	for i, node := range nodes {
		steps = append(steps, func() error {
			m := c.machine(r, node)
			if !m.Exists() {
				return fmt.Errorf("node %s is not there: start it with eastwest node start --name %s %s", node.Name, r.Name, node.Name)
			}
			var out, problem bytes.Buffer
			err := m.Run(ctx, r.nodeEnv(), machine.Streams{Out: &out, Err: &problem}, slices.Clone(command)...)
			if err != nil {
				return fmt.Errorf("node %s: %w: %s", node.Name, err, bytes.TrimSpace(problem.Bytes()))
			}
			answers[i] = out.Bytes()
			return nil
		})
	}
	return answers, parallel(steps...)
}
