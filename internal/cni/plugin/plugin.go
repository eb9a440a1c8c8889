// SPDX-License-Identifier: Apache-2.0

// Package plugin is what every CNI plugin of this program shares: the interface that each implements, the table that
// picks one by the program's name, and the errors of the specification.
//
// The flow of a call: environment and stdin → skel (checks of the specification) → Plugin → result in the version that
// the configuration asks for, on stdout. Specification: https://www.cni.dev/docs/spec/, versions 0.1.0 to 1.1.0.
package plugin

import (
	"context"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
)

// Plugin answers the verbs of the specification. Every verb may be called again after a crash at any point of it.
type Plugin interface {
	// Add makes the attachment and returns its result. When it fails, nothing of the attachment is left.
	Add(ctx context.Context, args *skel.CmdArgs) (types.Result, error)
	// Check returns an error if the attachment is not as Add left it.
	Check(ctx context.Context, args *skel.CmdArgs) error
	// Del removes the attachment; what is not there is no error.
	Del(ctx context.Context, args *skel.CmdArgs) error
	// GC removes every attachment of the network that is not in the configuration's list of valid ones.
	GC(ctx context.Context, args *skel.CmdArgs) error
	// Status returns an error if Add could not work now.
	Status(ctx context.Context, args *skel.CmdArgs) error
}

// Restorer is a plugin that writes rules which another program may remove.
type Restorer interface {
	// Restore puts back what is missing of an attachment's rules, and reports whether anything was. args are those of ADD, with
	// the attachment's whole result as prevResult.
	Restore(ctx context.Context, args *skel.CmdArgs) (missing bool, err error)
}

// Table names the plugins of a program.
type Table map[string]Plugin
