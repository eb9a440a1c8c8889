// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"fmt"
	"slices"
	"strings"
)

// Names returns the names of all controllers, sorted. Those that kube-controller-manager has are called as there.
func Names() []string {
	var out []string
	for _, entry := range list() {
		out = append(out, entry.name)
	}
	slices.Sort(out)
	return out
}

// Selection says which controllers run, in the way of kube-controller-manager's --controllers: "*" is all, "NAME" that one,
// "-NAME" all but that one. The nil Selection is all.
type Selection []string

// Validate returns an error that names the first unknown controller.
func (s Selection) Validate() error {
	for _, item := range s {
		if name := strings.TrimPrefix(item, "-"); item != "*" && !slices.Contains(Names(), name) {
			return fmt.Errorf("%q is not in the list of known controllers: %s", name, strings.Join(Names(), ", "))
		}
	}
	return nil
}

func (s Selection) has(name string) bool {
	switch {
	case len(s) == 0 || slices.Contains(s, name):
		return true
	case slices.Contains(s, "-"+name):
		return false
	}
	return slices.Contains(s, "*")
}
