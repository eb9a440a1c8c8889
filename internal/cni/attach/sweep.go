// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"errors"
	"fmt"
	"strings"

	"github.com/containernetworking/cni/pkg/skel"

	"eastwest/internal/cni/plugin"
	"eastwest/internal/kernel/link"
)

// Sweep deletes the host's ends of owners that are not alive, in the calling thread's namespace, and returns whose
// they were. Interfaces without an alias of ours are left alone.
func Sweep(alive func(plugin.Owner) bool) ([]plugin.Owner, error) {
	host, err := link.Open()
	if err != nil {
		return nil, err
	}
	defer host.Close()
	all, err := host.LinkList()
	if err != nil {
		return nil, err
	}
	var gone []plugin.Owner
	var failed error
	for _, l := range all {
		text, found := strings.CutPrefix(l.Attrs().Alias, aliasPrefix)
		owner, ok := plugin.ParseOwner(text)
		if !found || !ok || l.Type() != "veth" || alive(owner) {
			continue
		}
		if err := link.Delete(l); err != nil && !link.IsNotFound(err) {
			failed = errors.Join(failed, fmt.Errorf("delete %s of container %s: %w", l.Attrs().Name, owner.ContainerID, err))
			continue
		}
		gone = append(gone, owner)
	}
	return gone, failed
}

// RefuseTaken is the check that comes before addresses are asked for: an ADD of what exists must not touch it, not
// even by giving its addresses back when the ADD fails.
func RefuseTaken(container *link.Handle, args *skel.CmdArgs) error {
	_, err := container.Index(args.IfName)
	if link.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look up %s in the container: %w", args.IfName, err)
	}
	return fmt.Errorf("container %s already has an interface %s: ADD was called before, or the name is taken", args.ContainerID, args.IfName)
}
