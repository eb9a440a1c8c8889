// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// prepare gets the peers: containerd from Debian's package, kubelet from its module.
func prepare(o options) error {
	if !o.steps["start"] {
		return nil
	}
	if o.sides["containerd"] || o.sides["genuine"] {
		if err := tool("", filepath.Join(o.repository, "scripts/runtimes.sh"), filepath.Join(o.bin, "runtimes")); err != nil {
			return err
		}
	}
	if _, err := os.Stat(filepath.Join(o.bin, "kubelet")); err != nil && o.sides["genuine"] {
		return tool(filepath.Join(o.repository, "test/kubelet"), "go", "build", "-o", filepath.Join(o.bin, "kubelet"), "./kubelet")
	}
	return nil
}

func tool(dir, program string, args ...string) error {
	c := exec.Command(program, args...)
	c.Dir, c.Stderr = dir, os.Stderr
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if err := c.Run(); err != nil {
		return fmt.Errorf("%s %s: %w", program, strings.Join(args, " "), err)
	}
	return nil
}

// eastwest makes a command that finds the peers' programs.
func eastwest(o options, args ...string) *exec.Cmd {
	c := exec.Command(filepath.Join(o.bin, "eastwest"), args...)
	c.Env = append(os.Environ(), "PATH="+filepath.Join(o.bin, "runtimes")+":"+os.Getenv("PATH"))
	return c
}

func command(o options, args ...string) error {
	if out, err := eastwest(o, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("eastwest %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// cluster is a local cluster.
type cluster struct {
	options
	config *rest.Config
	client kubernetes.Interface
}

func up(o options, dir string, nodes int, flags []string) (*cluster, error) {
	kubeconfig := filepath.Join(dir, "kubeconfig")
	args := append([]string{"up", "--name", o.name, "--nodes", strconv.Itoa(nodes), "--kubeconfig", kubeconfig, "--wait", "5m"}, flags...)
	if err := command(o, args...); err != nil {
		return nil, err
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	config.QPS, config.Burst = 5000, 5000
	config.WarningHandler = rest.NoWarnings{}
	client, err := kubernetes.NewForConfig(config)
	return &cluster{options: o, config: config, client: client}, err
}

// inside runs a script on a node, with the input as its standard input.
func (c *cluster) inside(node, script string, input []byte, args ...string) error {
	cmd := eastwest(c.options, append([]string{"node", "exec", "--name", c.name, node, "--", "sh", "-c", script, "sh"}, args...)...)
	cmd.Stdin = bytes.NewReader(input)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("on node %s: %s: %w\n%s", node, script, err, out)
	}
	return nil
}

// localNode is a node as `eastwest node list` shows it.
type localNode struct {
	Name      string         `json:"name"`
	Role      string         `json:"role"`
	Address   string         `json:"address"`
	Processes map[string]int `json:"processes"`
}

func (c *cluster) nodes() ([]localNode, error) {
	out, err := eastwest(c.options, "node", "list", "--name", c.name, "-o", "json").Output()
	if err != nil {
		return nil, fmt.Errorf("list nodes: %w", err)
	}
	var nodes []localNode
	return nodes, json.Unmarshal(out, &nodes)
}

// workersOnly keeps pods off the node that runs the server.
func (c *cluster) workersOnly(ctx context.Context) ([]localNode, error) {
	nodes, err := c.nodes()
	if err != nil {
		return nil, err
	}
	var workers []localNode
	for _, node := range nodes {
		if node.Role != "control-plane" {
			workers = append(workers, node)
			continue
		}
		patch := []byte(`{"spec":{"unschedulable":true}}`)
		if _, err := c.client.CoreV1().Nodes().Patch(ctx, node.Name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
			return nil, fmt.Errorf("cordon %s: %w", node.Name, err)
		}
	}
	return workers, nil
}
