// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/containernetworking/cni/pkg/ns"
	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/version"
)

// Main answers a call with the named plugin and returns the exit code. An error of the call is printed on its Stdout as the
// specification asks; Stderr gets what is meant for people.
func (t Table) Main(ctx context.Context, name, about string, call *Call) int {
	p, ok := t[name]
	if !ok {
		names := slices.Sorted(maps.Keys(t))
		fmt.Fprintf(call.Stderr, "there is no CNI plugin %q in this program: run it under one of the names %s, or run \"eastwest-cni install --dir DIR\" to make them\n", name, strings.Join(names, ", "))
		return 2
	}
	if call.Getenv(commandVariable) == "" {
		fmt.Fprintf(call.Stderr, "%s\nCNI protocol versions supported: %s\n", about, strings.Join(version.All.SupportedVersions(), ", "))
		return 0
	}
	ctx = context.WithValue(ctx, callKey{}, call)
	if err := (&answer{Call: call, name: name, plugin: p}).run(ctx); err != nil {
		return call.Fail(name, err)
	}
	return 0
}

// Supports reports whether plugins answer configurations of a version of the specification.
func Supports(wanted string) bool { return slices.Contains(version.All.SupportedVersions(), wanted) }

// Fail prints an error as the specification's section 5 ("Error") has it, and returns the exit code. Errors name the plugin
// and the container.
func (c *Call) Fail(name string, err *types.Error) int {
	data, marshal := json.MarshalIndent(describeCall(c, name, err), "", "    ")
	_, write := c.Stdout.Write(data)
	if failed := errors.Join(marshal, write); failed != nil {
		fmt.Fprintf(c.Stderr, "write the error to stdout: %v\n", failed)
	}
	return 1
}

// describeCall puts the plugin and the container in front of what is refused before a plugin sees it, such as an unknown
// version.
func describeCall(call *Call, name string, err *types.Error) *types.Error {
	verb := call.Getenv(commandVariable)
	if strings.HasPrefix(err.Msg, name+" "+verb) {
		return err
	}
	args := &skel.CmdArgs{ContainerID: call.Getenv("CNI_CONTAINERID"), IfName: call.Getenv("CNI_IFNAME")}
	described := err
	errors.As(Describe(name, verb, args, err), &described)
	return described
}

// answer is one call of one plugin.
type answer struct {
	*Call
	name   string
	plugin Plugin
}

// since says from which version of the specification on a verb is there.
var since = map[string]string{"CHECK": "0.4.0", "GC": "1.1.0", "STATUS": "1.1.0"}

func (a *answer) run(ctx context.Context) *types.Error {
	verb, args, err := a.arguments()
	if err != nil {
		return err
	}
	call, known := a.verbs()[verb]
	switch {
	case verb == "VERSION":
		if err := version.All.Encode(a.Stdout); err != nil {
			return types.NewError(types.ErrIOFailure, err.Error(), "")
		}
		return nil
	case !known:
		return types.NewError(types.ErrInvalidEnvironmentVariables, fmt.Sprintf("unknown CNI_COMMAND: %v", verb), "")
	}
	if err := checkVersion(verb, args.StdinData); err != nil {
		return err
	}
	if err := Describe(a.name, verb, args, call(ctx, args)); err != nil {
		coded := &types.Error{}
		errors.As(err, &coded)
		return coded
	}
	if verb == "DEL" {
		return ownNamespaceGiven(args)
	}
	return nil
}

func (a *answer) verbs() map[string]func(context.Context, *skel.CmdArgs) error {
	return map[string]func(context.Context, *skel.CmdArgs) error{
		"ADD": a.addAndPrint, "CHECK": a.plugin.Check, "DEL": a.plugin.Del, "GC": a.plugin.GC, "STATUS": a.plugin.Status,
	}
}

// checkVersion refuses a configuration of a version that plugins do not know, or that has no such verb.
func checkVersion(verb string, stdin []byte) *types.Error {
	asked, err := (&version.ConfigDecoder{}).Decode(stdin)
	if err != nil {
		return types.NewError(types.ErrDecodingFailure, err.Error(), "")
	}
	if first, ok := since[verb]; ok {
		has, err := version.GreaterThanOrEqualTo(asked, first)
		if err != nil {
			return types.NewError(types.ErrDecodingFailure, err.Error(), "")
		}
		if !has {
			return types.NewError(types.ErrIncompatibleCNIVersion, "config version does not allow "+verb, "")
		}
	}
	if err := (&version.Reconciler{}).Check(asked, version.All); err != nil {
		return types.NewError(types.ErrIncompatibleCNIVersion, "incompatible CNI versions", err.Details())
	}
	return nil
}

// ownNamespaceGiven is what DEL says after its work when the container's namespace is the plugin's.
func ownNamespaceGiven(args *skel.CmdArgs) *types.Error {
	if overridden(args) {
		return nil
	}
	same, err := ns.CheckNetNS(args.Netns)
	if err == nil && same {
		err = types.NewError(types.ErrInvalidNetNS, "plugin's netns and netns from CNI_NETNS should not be the same", "")
	}
	return err
}

func (a *answer) addAndPrint(ctx context.Context, args *skel.CmdArgs) error {
	if err := refuseOwnNamespace(args); err != nil {
		return err
	}
	asked, err := (&version.ConfigDecoder{}).Decode(args.StdinData)
	if err != nil {
		return DecodeError("network configuration", err)
	}
	result, err := a.plugin.Add(ctx, args)
	if err != nil {
		return err
	}
	// Old versions cannot say everything. What cannot be said must not stay: the runtime takes it for failed.
	said, err := result.GetAsVersion(asked)
	if err != nil {
		return errors.Join(err, a.plugin.Del(ctx, args))
	}
	return said.PrintTo(a.Stdout)
}
