// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// crowd starts many pods on many nodes, and looks at memory and at the agents at rest.
func (c *cluster) crowd(ctx context.Context) error {
	before := c.memory()
	times, err := c.measured(ctx, "many", c.many)
	if err != nil {
		return err
	}
	fmt.Printf("%d pods on %d nodes: all Ready after %.1f s\n", c.many, c.options.nodes, slices.Max(times).Seconds())
	time.Sleep(20 * time.Second) // for what starting left to be given back
	after := c.memory()
	pods := after["conmon"] + after["eastwest-tool"]
	fmt.Printf("memory (proportional): a pod %.2f MiB, %.2f of it its monitor; an agent %.0f MiB, %.0f before its pods; the server %.0f MiB\n",
		mebibytes(pods)/float64(c.many), mebibytes(after["conmon"])/float64(c.many),
		mebibytes(after["eastwest-node"])/float64(c.options.nodes), mebibytes(before["eastwest-node"])/float64(c.options.nodes), mebibytes(after["eastwest-server"]))
	return c.atRest()
}

func mebibytes(kib int64) float64 { return float64(kib) / 1024 }

var proportional = regexp.MustCompile(`(?m)^Pss: +(\d+) kB`)

// memory sums the proportional memory of the cluster's processes by program, in KiB.
func (c *cluster) memory() map[string]int64 {
	sums := map[string]int64{}
	for _, pid := range c.processes() {
		rollup, err := os.ReadFile(filepath.Join("/proc", pid, "smaps_rollup"))
		program, linkErr := os.Readlink(filepath.Join("/proc", pid, "exe"))
		match := proportional.FindSubmatch(rollup)
		if err != nil || linkErr != nil || match == nil {
			continue
		}
		kib, _ := strconv.ParseInt(string(match[1]), 10, 64)
		sums[filepath.Base(program)] += kib
	}
	return sums
}

// processes lists those in the cluster's control groups, of any version.
func (c *cluster) processes() []string {
	var pids []string
	groups, _ := filepath.Glob("/sys/fs/cgroup/*/eastwest/" + c.name)
	for _, group := range append(groups, "/sys/fs/cgroup/eastwest/"+c.name) {
		_ = filepath.WalkDir(group, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && !entry.IsDir() && entry.Name() == "cgroup.procs" {
				text, _ := os.ReadFile(path)
				pids = append(pids, strings.Fields(string(text))...)
			}
			return nil
		})
	}
	slices.Sort(pids)
	return slices.Compact(pids)
}

// atRest measures what the agents compute while nothing happens.
func (c *cluster) atRest() error {
	nodes, err := c.nodes()
	if err != nil {
		return err
	}
	begin, before := time.Now(), map[string]float64{}
	for _, node := range nodes {
		before[node.Name] = computed(node.Processes["agent"])
	}
	time.Sleep(c.rest)
	var shares []float64
	for _, node := range nodes {
		shares = append(shares, 100*(computed(node.Processes["agent"])-before[node.Name])/time.Since(begin).Seconds())
	}
	slices.Sort(shares)
	fmt.Printf("an agent at rest with %d pods: %.2f %% of a core (%.2f to %.2f), over %s\n", c.many/len(nodes), shares[len(shares)/2],
		shares[0], shares[len(shares)-1], c.rest)
	return nil
}

// computed returns the seconds of processor time that a process has had (proc_pid_stat(5), fields 14 and 15).
func computed(pid int) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, ok := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	if err != nil || !ok || len(fields) < 13 {
		return 0
	}
	user, _ := strconv.ParseFloat(fields[11], 64)
	system, _ := strconv.ParseFloat(fields[12], 64)
	return (user + system) / 100
}
