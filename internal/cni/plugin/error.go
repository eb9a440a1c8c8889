// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"errors"
	"fmt"
	"strings"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
)

// DecodeError is error code 6: what was passed on stdin is not what the specification describes.
func DecodeError(what string, err error) error {
	return types.NewError(types.ErrDecodingFailure, fmt.Sprintf("decode %s: %v", what, err), "")
}

// ConfigError is error code 7: the network configuration is well-formed but wrong.
func ConfigError(format string, a ...any) error {
	return types.NewError(types.ErrInvalidNetworkConfig, fmt.Sprintf(format, a...), "")
}

// NetNSError is error code 8: the network namespace cannot be used.
func NetNSError(path string, err error) error {
	return types.NewError(types.ErrInvalidNetNS, fmt.Sprintf("network namespace %q: %v", path, err), "")
}

// Describe puts the plugin, the container and the interface in front of an error and keeps its code. Errors without a
// code get 999, which is what the reference library gives for failures inside a plugin.
func Describe(name, verb string, args *skel.CmdArgs, err error) error {
	if err == nil {
		return nil
	}
	code, details := types.ErrInternal, ""
	msg := err.Error()
	var coded *types.Error
	if errors.As(err, &coded) {
		code, details = coded.Code, coded.Details
		if err == error(coded) { //nolint:errorlint // what wraps it has something to say
			msg = coded.Msg
		}
	}
	subject := name + " " + verb
	if args.ContainerID != "" && !strings.Contains(msg, "container "+args.ContainerID) {
		subject += fmt.Sprintf(" of container %s interface %s", args.ContainerID, args.IfName)
	}
	return types.NewError(code, subject+": "+msg, details)
}
