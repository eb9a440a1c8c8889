// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// spread is the median with the smallest and the largest.
func spread(times []time.Duration) string {
	sorted := slices.Sorted(slices.Values(times))
	return fmt.Sprintf("median %.1f s (%.1f to %.1f, %d runs)", sorted[len(sorted)/2].Seconds(), sorted[0].Seconds(),
		sorted[len(sorted)-1].Seconds(), len(sorted))
}

func percentile(times []time.Duration, p int) time.Duration {
	sorted := slices.Sorted(slices.Values(times))
	return sorted[min(len(sorted)-1, len(sorted)*p/100)]
}

var resident = regexp.MustCompile(`(?m)^(VmRSS|RssAnon|RssFile):\s+(\d+) kB`)

// printMemory shows the resident memory of every process that runs one of the cluster's programs: as `ps` counts it, and
// its anonymous part and the part that is the program's own file.
func printMemory() error {
	processes, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return err
	}
	for _, file := range processes {
		text, err := os.ReadFile(file)
		if err != nil || !strings.HasPrefix(string(text), "/run/eastwest/bin/") && !strings.Contains(string(text), "conmon\x00") {
			continue
		}
		status, err := os.ReadFile(filepath.Join(filepath.Dir(file), "status"))
		if err != nil {
			continue
		}
		mib := map[string]int{}
		for _, match := range resident.FindAllStringSubmatch(string(status), -1) {
			kib, _ := strconv.Atoi(match[2])
			mib[match[1]] = kib >> 10
		}
		words := strings.Split(string(text), "\x00")
		fmt.Printf("resident %4d MiB (anonymous %d, files %d): %s %s\n", mib["VmRSS"], mib["RssAnon"], mib["RssFile"],
			filepath.Base(words[0]), words[min(1, len(words)-1)])
	}
	return nil
}
