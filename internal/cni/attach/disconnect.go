// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"errors"
	"fmt"
	"os"

	"eastwest/internal/cni/plugin"
	"eastwest/internal/kernel/link"
)

// Disconnect removes a container's interface with the host's end of it, which is in the calling thread's namespace as the handle is. What is not there is no error, nor is a
// namespace that is gone. An interface that another implementation made is found by its name in the namespace.
func Disconnect(host *link.Handle, o plugin.Owner, sandbox string) error {
	l, err := Find(host, o)
	if err != nil {
		return err
	}
	if l == nil {
		return DeleteInside(sandbox, o.IfName)
	}
	if err := link.Delete(l); err != nil && !link.IsNotFound(err) {
		return fmt.Errorf("delete %s: %w", l.Attrs().Name, err)
	}
	return nil
}

// DeleteInside deletes an interface from within the container's namespace. What is not there is no error.
func DeleteInside(sandbox, ifName string) error {
	if sandbox == "" {
		return nil
	}
	container, err := link.OpenAt(sandbox)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, link.ErrNotNamespace) {
		return nil
	}
	if err != nil {
		return err
	}
	defer container.Close()
	l, err := container.LinkByName(ifName)
	if link.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look up %s: %w", ifName, err)
	}
	if err := container.LinkDel(l); err != nil && !link.IsNotFound(err) {
		return fmt.Errorf("delete %s: %w", ifName, err)
	}
	return nil
}
