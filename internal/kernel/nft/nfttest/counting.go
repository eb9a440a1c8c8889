// SPDX-License-Identifier: Apache-2.0

package nfttest

import (
	"context"

	"eastwest/internal/kernel/nft"
)

// Counting is a kernel that counts what is written, to see that nothing is written without need.
type Counting struct {
	*nft.Conn
	Scripts, Changes, Written int // Written counts elements
}

// Run counts a script and runs it.
func (c *Counting) Run(ctx context.Context, script string) error {
	c.Scripts++
	return c.Conn.Run(ctx, script)
}

// Change counts a change and makes it.
func (c *Counting) Change(ctx context.Context, ops []nft.Op) error {
	c.Changes++
	for _, op := range ops {
		c.Written += max(len(op.Delete), len(op.Add)) // one that gets other data is in both
	}
	return c.Conn.Change(ctx, ops)
}
