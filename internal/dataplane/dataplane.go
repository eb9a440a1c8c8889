// SPDX-License-Identifier: Apache-2.0

// Package dataplane says what a dataplane is: something that makes this node match a table.
//
// The tables come from compile, where everything is decided; a dataplane renders rows, compares them with what it wrote
// last and applies the difference. Each backend is a package of its own below this one.
package dataplane

import (
	"context"

	"eastwest/internal/table"
)

// A Dataplane makes this node match a table of rows.
type Dataplane[R any] interface {
	// Apply makes the node match want, which is the whole desired state and is never modified. changed names the rows
	// that differ from the last table applied. Apply is idempotent; after an error the next call gets changed.All.
	Apply(ctx context.Context, want table.Table[R], changed table.Keys) error
	// Remove takes away everything that this dataplane ever put in place. Nothing there is no error.
	Remove(ctx context.Context) error
	// Dump returns what is in place now, as sorted text for people and tests.
	Dump(ctx context.Context) (string, error)
}
