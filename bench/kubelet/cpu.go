// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// cpu is processor time in seconds since the cluster began: what a busy machine makes slower, but hardly dearer.
type cpu struct{ all, server, agents float64 }

func (c *cluster) cpu() (cpu, error) {
	nodes, err := c.nodes()
	if err != nil {
		return cpu{}, err
	}
	used := cpu{all: c.groupTime()}
	for _, node := range nodes {
		used.agents += computed(node.Processes["agent"])
		used.server += computed(node.Processes["server"])
	}
	return used, nil
}

// groupTime asks the cluster's control group, which knows processes that have ended, too.
func (c *cluster) groupTime() float64 {
	if text, err := os.ReadFile(filepath.Join("/sys/fs/cgroup/cpuacct/eastwest", c.name, "cpuacct.usage")); err == nil {
		nanoseconds, _ := strconv.ParseFloat(strings.TrimSpace(string(text)), 64)
		return nanoseconds / 1e9
	}
	text, _ := os.ReadFile(filepath.Join("/sys/fs/cgroup/eastwest", c.name, "cpu.stat"))
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "usage_usec "); ok {
			microseconds, _ := strconv.ParseFloat(strings.TrimSpace(value), 64)
			return microseconds / 1e6
		}
	}
	return 0
}

// printCPU prints what a pod took, of count pods since before.
func (c *cluster) printCPU(what string, before cpu, count int) error {
	now, err := c.cpu()
	if err != nil {
		return err
	}
	each := func(seconds float64) float64 { return 1000 * seconds / float64(count) }
	server, agents := now.server-before.server, now.agents-before.agents
	fmt.Printf("  %s: %.0f ms of processor time a pod: server %.0f, agents %.0f, other programs %.0f\n", what,
		each(now.all-before.all), each(server), each(agents), each(now.all-before.all-server-agents))
	return nil
}
