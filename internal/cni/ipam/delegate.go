// SPDX-License-Identifier: Apache-2.0

// Package ipam calls the IPAM plugin that a network configuration names.
//
// The specification has an interface plugin run its IPAM plugin as a process of its own, found in CNI_PATH. When the
// file found there is the very program that was called (one file under several names), Delegate calls it as a
// function: same arguments, same result, one process start less (about 2 ms of 5). Any other file is run.
package ipam

import (
	"context"
	"errors"
	"os"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/version"

	"eastwest/internal/cni/plugin"
)

// Delegate finds and calls IPAM plugins.
type Delegate struct {
	own plugin.Table
}

// New returns a Delegate that calls plugins in own as functions if CNI_PATH leads to the program that was called.
func New(own plugin.Table) *Delegate { return &Delegate{own: own} }

// Add asks for addresses and returns the IPAM plugin's result.
func (d *Delegate) Add(ctx context.Context, kind string, args *skel.CmdArgs) (*current.Result, error) {
	path, p, err := d.find(ctx, kind, args)
	if err != nil {
		return nil, err
	}
	var result types.Result
	if p != nil {
		result, err = addOwn(ctx, kind, p, args)
	} else {
		result, err = execResult(ctx, path, args)
	}
	if err != nil {
		return nil, err
	}
	return current.NewResultFromResult(result)
}

// addOwn takes the result through the asked version, as it would come from a process: old versions hold less.
func addOwn(ctx context.Context, kind string, p plugin.Plugin, args *skel.CmdArgs) (types.Result, error) {
	asked, err := (&version.ConfigDecoder{}).Decode(args.StdinData)
	if err != nil {
		return nil, plugin.DecodeError("network configuration", err)
	}
	result, err := p.Add(ctx, args)
	if err != nil {
		return nil, plugin.Describe(kind, "ADD", args, err)
	}
	return result.GetAsVersion(asked)
}

// Check asks the IPAM plugin whether the container still holds its addresses.
func (d *Delegate) Check(ctx context.Context, kind string, args *skel.CmdArgs) error {
	return d.call(ctx, kind, "CHECK", args, plugin.Plugin.Check)
}

// Del gives the container's addresses back.
func (d *Delegate) Del(ctx context.Context, kind string, args *skel.CmdArgs) error {
	return d.call(ctx, kind, "DEL", args, plugin.Plugin.Del)
}

// GC passes on the list of valid attachments.
func (d *Delegate) GC(ctx context.Context, kind string, args *skel.CmdArgs) error {
	return d.call(ctx, kind, "GC", args, plugin.Plugin.GC)
}

// Status asks whether addresses can be had now.
func (d *Delegate) Status(ctx context.Context, kind string, args *skel.CmdArgs) error {
	return d.call(ctx, kind, "STATUS", args, plugin.Plugin.Status)
}

type verb func(plugin.Plugin, context.Context, *skel.CmdArgs) error

func (d *Delegate) call(ctx context.Context, kind, name string, args *skel.CmdArgs, fn verb) error {
	path, p, err := d.find(ctx, kind, args)
	if err != nil {
		return err
	}
	if p != nil {
		return plugin.Describe(kind, name, args, fn(p, ctx, args))
	}
	_, err = run(ctx, path, name, args)
	return err
}

// find returns the plugin's file and, if that is the running program, the plugin itself.
func (d *Delegate) find(ctx context.Context, kind string, args *skel.CmdArgs) (string, plugin.Plugin, error) {
	path, err := findInPath(kind, args.Path)
	if err != nil {
		return "", nil, err
	}
	if p, ok := d.own[kind]; ok && sameFile(path, plugin.Of(ctx).Program) {
		return path, p, nil
	}
	return path, nil, nil
}

func sameFile(a, b string) bool {
	sa, errA := os.Stat(a)
	sb, errB := os.Stat(b)
	return errors.Join(errA, errB) == nil && os.SameFile(sa, sb)
}
