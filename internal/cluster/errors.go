// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"fmt"
	"os"
	"strings"
)

// NotFoundError says that there is no cluster of a name. It is os.ErrNotExist.
type NotFoundError struct {
	Name   string
	Others []string
}

// Error implements error.
func (e *NotFoundError) Error() string {
	if len(e.Others) == 0 {
		return fmt.Sprintf("there is no cluster %q: start one with %q", e.Name, "eastwest up"+nameFlag(e.Name))
	}
	return fmt.Sprintf("there is no cluster %q; there is %s: name one with --name", e.Name, strings.Join(e.Others, ", "))
}

// Is makes it os.ErrNotExist.
func (e *NotFoundError) Is(target error) bool { return target == os.ErrNotExist }

// ExistsError says that the cluster is there already.
type ExistsError struct{ Name string }

// Error implements error.
func (e *ExistsError) Error() string {
	flag := nameFlag(e.Name)
	return fmt.Sprintf("cluster %q exists already: use it (eastwest kubectl --context %s get nodes), start what is stopped (eastwest node start%s), remove it (eastwest down%s), or give the new one another --name",
		e.Name, ContextName(e.Name), flag, flag)
}

// ProcessError says that a process of the cluster ended when it should not have.
type ProcessError struct {
	// Process is the process's name, Node the node it ran on, or "" for the host.
	Process, Node string
	// Log is the path of its log, Tail the end of that.
	Log, Tail string
	// Err is how it ended.
	Err error
}

// Error implements error.
func (e *ProcessError) Error() string {
	where := "on the host"
	if e.Node != "" {
		where = "on node " + e.Node
	}
	text := fmt.Sprintf("%s %s ended (%v); its log is %s", e.Process, where, e.Err, e.Log)
	if e.Tail != "" {
		text += " and ends with:\n" + e.Tail
	}
	return text
}

// Unwrap gives how the process ended.
func (e *ProcessError) Unwrap() error { return e.Err }

// nameFlag is what a person has to add to a command to mean this cluster.
func nameFlag(name string) string {
	if name == DefaultName {
		return ""
	}
	return " --name " + name
}
