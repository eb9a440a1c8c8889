// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/utils"
)

// stdinLimit is far more than any configuration with the result of the plugins before has.
const stdinLimit = 16 << 20

// variable is a parameter of the specification's section 2 ("Parameters").
type variable struct {
	name   string
	verbs  string // that need it
	valid  func(string) *types.Error
	assign func(*skel.CmdArgs, string)
}

var variables = []variable{
	{name: "CNI_CONTAINERID", verbs: "ADD CHECK DEL", valid: utils.ValidateContainerID, assign: func(a *skel.CmdArgs, v string) { a.ContainerID = v }},
	{name: "CNI_NETNS", verbs: "ADD CHECK", assign: func(a *skel.CmdArgs, v string) { a.Netns = v }},
	{name: "CNI_IFNAME", verbs: "ADD CHECK DEL", valid: utils.ValidateInterfaceName, assign: func(a *skel.CmdArgs, v string) { a.IfName = v }},
	{name: "CNI_ARGS", assign: func(a *skel.CmdArgs, v string) { a.Args = v }},
	{name: "CNI_PATH", verbs: "ADD CHECK DEL GC STATUS", assign: func(a *skel.CmdArgs, v string) { a.Path = v }},
	{name: "CNI_NETNS_OVERRIDE", assign: func(a *skel.CmdArgs, v string) { a.NetnsOverride = v }},
}

const commandVariable = "CNI_COMMAND"

// arguments reads the call's verb and arguments. The checks and their words are those of the reference library's skel, which
// reads the process's own environment and files and so cannot serve several calls in one process.
func (c *Call) arguments() (string, *skel.CmdArgs, *types.Error) {
	verb, args := c.Getenv(commandVariable), &skel.CmdArgs{}
	var missing []string
	if verb == "" {
		missing = append(missing, commandVariable)
	}
	for _, v := range variables {
		value, needed := c.Getenv(v.name), verb != "" && strings.Contains(" "+v.verbs+" ", " "+verb+" ")
		v.assign(args, value)
		switch {
		case value == "" && needed:
			missing = append(missing, v.name)
		case value != "" && needed && v.valid != nil:
			if err := v.valid(value); err != nil {
				return "", nil, err
			}
		}
	}
	if len(missing) > 0 {
		return "", nil, types.NewError(types.ErrInvalidEnvironmentVariables, fmt.Sprintf("required env variables [%s] missing", strings.Join(missing, ",")), "")
	}
	if verb == "VERSION" {
		return verb, args, nil
	}
	var err error
	if args.StdinData, err = io.ReadAll(io.LimitReader(c.Stdin, stdinLimit+1)); err != nil {
		return "", nil, types.NewError(types.ErrIOFailure, fmt.Sprintf("error reading from stdin: %v", err), "")
	}
	if len(args.StdinData) > stdinLimit {
		return "", nil, types.NewError(types.ErrIOFailure, fmt.Sprintf("error reading from stdin: more than %d bytes", stdinLimit), "")
	}
	return verb, args, checkName(args.StdinData)
}

// checkName refuses what is no network configuration or has no usable name.
func checkName(stdin []byte) *types.Error {
	var conf struct {
		Name string `json:"name"`
	}
	if err := json.Unmarshal(stdin, &conf); err != nil {
		return types.NewError(types.ErrDecodingFailure, fmt.Sprintf("error unmarshall network config: %v", err), "")
	}
	if conf.Name == "" {
		return types.NewError(types.ErrInvalidNetworkConfig, "missing network name", "")
	}
	return utils.ValidateNetworkName(conf.Name)
}
