// SPDX-License-Identifier: Apache-2.0

package conntrack_test

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"

	"eastwest/internal/kernel/conntrack"
	"eastwest/internal/kernel/netns/netnstest"
)

func number(t *testing.T, file string) int {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// The limit of connections is raised with the size of the table, and never lowered.
func TestRaise(t *testing.T) {
	netnstest.RequireOwnMachine(t)
	const limit, buckets = "/proc/sys/net/netfilter/nf_conntrack_max", "/sys/module/nf_conntrack/parameters/hashsize"
	want := 2 * max(number(t, limit), 4*number(t, buckets))
	for _, asked := range []int{want, want / 2} {
		if err := conntrack.New("").Raise(asked); err != nil {
			t.Fatal(err)
		}
		if number(t, limit) != want || number(t, buckets) < want/4 {
			t.Errorf("asked for %d: a limit of %d with %d buckets, want %d with %d", asked, number(t, limit), number(t, buckets), want, want/4)
		}
	}
}

// Other network namespaces than the machine's own may not.
func TestRaiseElsewhere(t *testing.T) {
	err := conntrack.New(netnstest.New(t)).Raise(1 << 30)
	if !errors.Is(err, os.ErrPermission) {
		t.Errorf("%v, want that it is not permitted", err)
	}
}
