// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	for name, test := range map[string]struct {
		mounts string
		want   []Hierarchy
	}{
		"version 2": {
			"30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n",
			[]Hierarchy{{Mount: "/sys/fs/cgroup", Unified: true}},
		},
		"hybrid": {
			`31 23 0:28 / /sys/fs/cgroup ro - tmpfs tmpfs ro,mode=755
32 31 0:29 / /sys/fs/cgroup/unified rw shared:5 - cgroup2 cgroup2 rw
33 31 0:30 / /sys/fs/cgroup/systemd rw shared:6 - cgroup cgroup rw,xattr,release_agent=/x,name=systemd
34 31 0:31 / /sys/fs/cgroup/cpu,cpuacct rw shared:7 shared:8 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /mnt/elsewhere rw - cgroup cgroup rw,pids
`,
			[]Hierarchy{
				{Mount: "/sys/fs/cgroup/unified", Unified: true},
				{Mount: "/sys/fs/cgroup/systemd", Options: "name=systemd"},
				{Mount: "/sys/fs/cgroup/cpu,cpuacct", Options: "cpu,cpuacct"},
			},
		},
		"none": {"22 27 0:21 / /proc rw - proc proc rw\nnonsense\n", nil},
	} {
		got, err := parse(strings.NewReader(test.mounts))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("30 23 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw")
	f.Fuzz(func(_ *testing.T, text string) { _, _ = parse(strings.NewReader(text)) })
}
