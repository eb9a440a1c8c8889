// SPDX-License-Identifier: Apache-2.0

package portmap

import (
	"errors"

	"github.com/google/nftables"

	"eastwest/internal/cni/nftrule"
	"eastwest/internal/cni/plugin"
)

// removeReference removes what the reference plugin's backend nftables made for a container: rules with its name as their
// comment, in tables of their own (containernetworking/plugins 1.9, plugins/meta/portmap/portmap_nftables.go).
func removeReference(o plugin.Owner) error {
	var err error
	for _, family := range []nftables.TableFamily{nftables.TableFamilyIPv4, nftables.TableFamilyIPv6} {
		of := func(comment string) bool { return comment == o.ContainerID }
		err = errors.Join(err, nftrule.RemoveCommented(family, "cni_hostport", of, "hostports", "hostip_hostports", "masquerading"))
	}
	return err
}
