// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"fmt"
	"net"

	"github.com/containernetworking/cni/pkg/types"

	"eastwest/internal/cni/plugin"
)

// RequestedMAC is the hardware address asked for: by the capability mac, else in "args", else in CNI_ARGS, else in the
// configuration; nil for a random one.
func RequestedMAC(cniArgs, capability, arg, configured string) (net.HardwareAddr, error) {
	var env struct {
		types.CommonArgs
		MAC types.UnmarshallableString
	}
	if err := types.LoadArgs(cniArgs, &env); err != nil {
		return nil, types.NewError(types.ErrInvalidEnvironmentVariables, fmt.Sprintf("CNI_ARGS %q: %v", cniArgs, err), "")
	}
	for _, text := range []string{capability, arg, string(env.MAC), configured} {
		if text == "" {
			continue
		}
		mac, err := net.ParseMAC(text)
		if err != nil {
			return nil, plugin.ConfigError("hardware address: %v", err)
		}
		return mac, nil
	}
	return nil, nil
}
