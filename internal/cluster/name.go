// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"fmt"
	"regexp"
	"strconv"
)

// DefaultName is the name of a cluster that is given none.
const DefaultName = "eastwest"

// MaxNodes bounds a local cluster.
const MaxNodes = 250

// namePattern is what a host name may hold, since node names begin with the cluster's.
var namePattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)

// maxName leaves room for the longest node name in the 63 bytes of a host name.
const maxName = 40

// CheckName says what is wrong with a cluster's name.
func CheckName(name string) error {
	if len(name) > maxName || !namePattern.MatchString(name) {
		return fmt.Errorf("%q is no name for a cluster: use at most %d lower-case letters, digits and hyphens, with a letter or digit at both ends", name, maxName)
	}
	return nil
}

// ContextName is the name of a cluster's context in a kubeconfig.
func ContextName(name string) string { return "eastwest-" + name }

// Roles of a node.
const (
	RoleControlPlane = "control-plane"
	RoleWorker       = "worker"
)

// nodeNames names the nodes of a cluster as kind does: NAME-control-plane, NAME-worker, NAME-worker2, …
func nodeNames(cluster string, count int) []string {
	names := []string{cluster + "-" + RoleControlPlane}
	for i := 1; i < count; i++ {
		suffix := ""
		if i > 1 {
			suffix = strconv.Itoa(i)
		}
		names = append(names, cluster+"-"+RoleWorker+suffix)
	}
	return names
}
