// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"
)

// Main answers the call that the environment and stdin describe with the named plugin and returns the exit code. An
// error of the call is printed on stdout as the specification asks; stderr gets what is meant for people.
func (t Table) Main(ctx context.Context, name, about string, stdout, stderr io.Writer) int {
	p, ok := t[name]
	if !ok {
		names := slices.Sorted(maps.Keys(t))
		fmt.Fprintf(stderr, "there is no CNI plugin %q in this program: run it under one of the names %s, or run \"eastwest-cni install --dir DIR\" to make them\n", name, strings.Join(names, ", "))
		return 2
	}
	if err := skel.PluginMainFuncsWithError(verbs(ctx, name, p), version.All, about); err != nil {
		if err := describeCall(name, err).Print(); err != nil {
			fmt.Fprintf(stderr, "write the error to stdout: %v\n", err)
		}
		return 1
	}
	return 0
}

// Supports reports whether plugins answer configurations of a version of the specification.
func Supports(wanted string) bool { return slices.Contains(version.All.SupportedVersions(), wanted) }

// describeCall puts the plugin and the container in front of what skel refuses before a plugin sees it, such as an unknown
// version.
func describeCall(name string, err *types.Error) *types.Error {
	verb := os.Getenv("CNI_COMMAND")
	if verb == "" || strings.HasPrefix(err.Msg, name+" "+verb) {
		return err
	}
	args := &skel.CmdArgs{ContainerID: os.Getenv("CNI_CONTAINERID"), IfName: os.Getenv("CNI_IFNAME")}
	described := err
	errors.As(Describe(name, verb, args, err), &described)
	return described
}

func verbs(ctx context.Context, name string, p Plugin) skel.CNIFuncs {
	call := func(verb string, fn func(context.Context, *skel.CmdArgs) error) func(*skel.CmdArgs) error {
		return func(args *skel.CmdArgs) error { return Describe(name, verb, args, fn(ctx, args)) }
	}
	return skel.CNIFuncs{
		Add: call("ADD", func(ctx context.Context, args *skel.CmdArgs) error {
			return addAndPrint(ctx, p, args)
		}),
		Check:  call("CHECK", p.Check),
		Del:    call("DEL", p.Del),
		GC:     call("GC", p.GC),
		Status: call("STATUS", p.Status),
	}
}

func addAndPrint(ctx context.Context, p Plugin, args *skel.CmdArgs) error {
	if err := refuseOwnNamespace(args); err != nil {
		return err
	}
	asked, err := (&version.ConfigDecoder{}).Decode(args.StdinData)
	if err != nil {
		return DecodeError("network configuration", err)
	}
	result, err := p.Add(ctx, args)
	if err != nil {
		return err
	}
	// Old versions cannot say everything. What cannot be said must not stay: the runtime takes it for failed.
	if _, err := result.GetAsVersion(asked); err != nil {
		return errors.Join(err, p.Del(ctx, args))
	}
	return types.PrintResult(result, asked)
}
