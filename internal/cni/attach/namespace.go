// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"errors"
	"os"

	"eastwest/internal/cni/plugin"
	"eastwest/internal/kernel/link"
)

// Namespace is a container's network namespace with a handle in it. The caller closes it.
type Namespace struct {
	File *os.File
	Link *link.Handle
}

// OpenNamespace opens a container's network namespace; errors carry the specification's code for it.
func OpenNamespace(path string) (*Namespace, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, plugin.NetNSError(path, err)
	}
	h, err := link.OpenIn(f)
	if err != nil {
		_ = f.Close()
		if errors.Is(err, link.ErrNotNamespace) {
			err = link.ErrNotNamespace
		}
		return nil, plugin.NetNSError(path, err)
	}
	return &Namespace{File: f, Link: h}, nil
}

// Close closes the handle and the file.
func (n *Namespace) Close() {
	n.Link.Close()
	_ = n.File.Close()
}
