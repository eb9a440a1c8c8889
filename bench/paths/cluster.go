// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"eastwest/bench/traffic"
)

const pods = `
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  nodeName: %[1]s-control-plane
  containers: [{name: tool, image: eastwest.local/tool, imagePullPolicy: Never}]
---
apiVersion: v1
kind: Pod
metadata: {name: server}
spec:
  nodeName: %[1]s-worker
  containers: [{name: tool, image: eastwest.local/tool, imagePullPolicy: Never}]
`

// cluster starts a cluster of two nodes, with a pod on each.
func (o options) cluster(name, clusterName, overlay string) (path, error) {
	eastwest, kubeconfig := filepath.Join(o.bin, "eastwest"), filepath.Join(o.dir, "kubeconfig-"+clusterName)
	p := path{name: name, remove: func() error {
		_, err := output(exec.Command(eastwest, "down", "--name", clusterName))
		return err
	}}
	if _, err := output(exec.Command(eastwest, "up", "--name", clusterName, "--nodes", "2", "--overlay", overlay, "--kubeconfig", kubeconfig)); err != nil {
		return p, err
	}
	for _, args := range [][]string{{"apply", "-f", "-"}, {"wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s"}} {
		c := exec.Command(eastwest, append([]string{"kubectl"}, args...)...)
		c.Env, c.Stdin = append(os.Environ(), "KUBECONFIG="+kubeconfig), strings.NewReader(fmt.Sprintf(pods, clusterName))
		if _, err := output(c); err != nil {
			return p, err
		}
	}
	out, err := output(exec.Command(eastwest, "show", "pods", "--name", clusterName, "-n", "default", "-o", "json"))
	if err != nil {
		return p, err
	}
	var shown []struct {
		Name      string       `json:"name"`
		Addresses []netip.Addr `json:"addresses"`
		Processes []int        `json:"processes"`
	}
	if err := json.Unmarshal(out, &shown); err != nil {
		return p, fmt.Errorf("read the cluster's pods: %w", err)
	}
	for _, pod := range shown {
		if len(pod.Processes) == 0 || len(pod.Addresses) == 0 {
			continue
		}
		at := traffic.Namespace(fmt.Sprintf("/proc/%d/ns/net", pod.Processes[0]))
		switch pod.Name {
		case "client":
			p.client = at
		case "server":
			p.server, p.to = at, pod.Addresses[0]
		}
	}
	if p.client == "" || p.server == "" {
		return p, fmt.Errorf("the cluster does not show both pods: %s", out)
	}
	return p, nil
}

// network is a cluster's network alone: pods, routes and tunnels as the agents made them, but no rule of Services, of egress or against
// foreign addresses, and so no connection tracking. The agents are killed, since they would put the rules back.
func (o options) network(name, clusterName, overlay string) (path, error) {
	p, err := o.cluster(name, clusterName, overlay)
	if err != nil {
		return p, err
	}
	for _, node := range []string{clusterName + "-control-plane", clusterName + "-worker"} {
		if _, err := output(exec.Command("pkill", "-KILL", "-f", "eastwest-node agent .*"+node+"( |$)")); err != nil {
			return p, err
		}
		if _, err := output(exec.Command(filepath.Join(o.bin, "eastwest"), "node", "exec", node, "--", "nft", "flush", "ruleset")); err != nil {
			return p, err
		}
	}
	return p, nil
}

func output(c *exec.Cmd) ([]byte, error) {
	out, err := c.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	if err != nil {
		return nil, fmt.Errorf("run %s: %w", strings.Join(c.Args, " "), err)
	}
	return out, nil
}
