// SPDX-License-Identifier: Apache-2.0

package ipam

import (
	"context"
	"errors"

	"github.com/containernetworking/cni/pkg/skel"
	current "github.com/containernetworking/cni/pkg/types/100"
)

// Optional is a Delegate for plugins that also attach containers without an address: where the configuration names no
// IPAM plugin, nobody is asked.
type Optional struct {
	delegate *Delegate
}

// NewOptional returns an Optional that calls plugins through delegate.
func NewOptional(delegate *Delegate) Optional { return Optional{delegate} }

// Add asks for addresses. A result without one is an error, and given back.
func (o Optional) Add(ctx context.Context, kind string, args *skel.CmdArgs) (*current.Result, error) {
	if kind == "" {
		return &current.Result{CNIVersion: current.ImplementedSpecVersion}, nil
	}
	result, err := o.delegate.Add(ctx, kind, args)
	if err == nil && len(result.IPs) == 0 {
		return nil, errors.Join(errors.New("IPAM plugin returned missing IP config"), o.delegate.Del(ctx, kind, args))
	}
	return result, err
}

// Check asks the IPAM plugin whether the container still holds its addresses.
func (o Optional) Check(ctx context.Context, kind string, args *skel.CmdArgs) error {
	return o.ask(ctx, kind, args, o.delegate.Check)
}

// Del gives the container's addresses back.
func (o Optional) Del(ctx context.Context, kind string, args *skel.CmdArgs) error {
	return o.ask(ctx, kind, args, o.delegate.Del)
}

// GC passes on the list of valid attachments.
func (o Optional) GC(ctx context.Context, kind string, args *skel.CmdArgs) error {
	return o.ask(ctx, kind, args, o.delegate.GC)
}

// Status asks whether addresses can be had now.
func (o Optional) Status(ctx context.Context, kind string, args *skel.CmdArgs) error {
	return o.ask(ctx, kind, args, o.delegate.Status)
}

func (o Optional) ask(ctx context.Context, kind string, args *skel.CmdArgs, verb func(context.Context, string, *skel.CmdArgs) error) error {
	if kind == "" {
		return nil
	}
	return verb(ctx, kind, args)
}
