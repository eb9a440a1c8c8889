// SPDX-License-Identifier: Apache-2.0

package hostlocal

import "strings"

// owner is who holds a lease. The interface is empty in leases that old versions of the reference plugin wrote.
type owner struct {
	container, ifName string
}

const lineBreak = "\r\n"

// String is the text of a lease file.
func (o owner) String() string {
	if o.ifName == "" {
		return o.container
	}
	return o.container + lineBreak + o.ifName
}

func newOwner(container, ifName string) owner {
	return owner{container: strings.TrimSpace(container), ifName: ifName}
}

// parseOwner reads a lease file; false means that it names nobody.
func parseOwner(text []byte) (owner, bool) {
	container, ifName, _ := strings.Cut(strings.TrimSpace(string(text)), lineBreak)
	return owner{container: container, ifName: ifName}, container != ""
}
