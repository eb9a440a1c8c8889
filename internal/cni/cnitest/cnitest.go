// SPDX-License-Identifier: Apache-2.0

// Package cnitest runs the plugins in tests the way a container runtime does: as processes, through libcni, in a
// network namespace that stands for the node.
//
// The plugins are the test binary itself under other names, so the package's TestMain must call Main first.
package cnitest

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"

	"eastwest/internal/cni/program"
	"eastwest/internal/kernel/netns/netnstest"
)

// Main makes the process a plugin if it was started under a plugin's name; it does not return then.
func Main() {
	if _, ok := program.Plugins()[filepath.Base(os.Args[0])]; ok {
		os.Exit(program.Main(context.Background(), os.Args, "test", os.Stdout, os.Stderr))
	}
}

// Node is a node with the plugins installed.
type Node struct {
	t     testing.TB
	NS    string // path of the node's network namespace
	Bin   string // folder of the plugins
	Cache string // where the runtime keeps results
	cni   *libcni.CNIConfig
}

// NewNode makes a network namespace for a node and installs the plugins for it.
func NewNode(t testing.TB) *Node {
	t.Helper()
	n := &Node{t: t, NS: netnstest.New(t), Bin: t.TempDir(), Cache: t.TempDir()}
	if err := program.Install(n.Bin, "/proc/self/exe"); err != nil {
		t.Fatal(err)
	}
	n.cni = libcni.NewCNIConfigWithCacheDir([]string{n.Bin}, n.Cache, nil)
	return n
}

// Pod is a container's network namespace and name, as a runtime passes them.
func Pod(t testing.TB, id string) *libcni.RuntimeConf {
	t.Helper()
	return &libcni.RuntimeConf{ContainerID: id, NetNS: netnstest.New(t), IfName: "eth0"}
}

// List parses a network configuration list.
func List(t testing.TB, text string) *libcni.NetworkConfigList {
	t.Helper()
	list, err := libcni.NetworkConfFromBytes([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// Add attaches a pod and fails the test if that fails.
func (n *Node) Add(list *libcni.NetworkConfigList, pod *libcni.RuntimeConf) *current.Result {
	n.t.Helper()
	result, err := n.TryAdd(list, pod)
	if err != nil {
		n.t.Fatalf("ADD %s: %v", pod.ContainerID, err)
	}
	return result
}

// TryAdd attaches a pod.
func (n *Node) TryAdd(list *libcni.NetworkConfigList, pod *libcni.RuntimeConf) (*current.Result, error) {
	var result types.Result
	err := n.in(func() (err error) {
		result, err = n.cni.AddNetworkList(context.Background(), list, pod)
		return err
	})
	if err != nil {
		return nil, err
	}
	return current.NewResultFromResult(result)
}

// Del detaches a pod.
func (n *Node) Del(list *libcni.NetworkConfigList, pod *libcni.RuntimeConf) error {
	return n.in(func() error { return n.cni.DelNetworkList(context.Background(), list, pod) })
}

// Check checks a pod.
func (n *Node) Check(list *libcni.NetworkConfigList, pod *libcni.RuntimeConf) error {
	return n.in(func() error { return n.cni.CheckNetworkList(context.Background(), list, pod) })
}

// GC removes everything of the network but the pods.
func (n *Node) GC(list *libcni.NetworkConfigList, pods ...*libcni.RuntimeConf) error {
	args := &libcni.GCArgs{}
	for _, p := range pods {
		args.ValidAttachments = append(args.ValidAttachments, types.GCAttachment{ContainerID: p.ContainerID, IfName: p.IfName})
	}
	return n.in(func() error { return n.cni.GCNetworkList(context.Background(), list, args) })
}

// Status asks whether pods can be attached.
func (n *Node) Status(list *libcni.NetworkConfigList) error {
	return n.in(func() error { return n.cni.GetStatusNetworkList(context.Background(), list) })
}
