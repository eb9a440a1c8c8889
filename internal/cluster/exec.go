// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"fmt"
	"os"
)

// Exec replaces this program by a command on a node, with this program's streams and terminal. It returns only an error.
func (c *Clusters) Exec(ctx context.Context, cluster, name string, command ...string) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("enter node %s: this needs root: run it with sudo", name)
	}
	record, err := c.Record(ctx, cluster)
	if err != nil {
		return err
	}
	node, err := record.Node(name)
	if err != nil {
		return err
	}
	return c.machine(record, node).Exec(record.nodeEnv(), command...)
}
