// SPDX-License-Identifier: Apache-2.0

package suites

import (
	"os"
	"strings"
	"testing"
)

// What a suite does to the host's parameters, links and pinned namespaces, it does to its own.
func TestSuitesLeaveTheHostAsItWas(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	const path = "/proc/sys/net/ipv4/ip_forward"
	read := func() string {
		t.Helper()
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(text))
	}
	before := read()
	other := map[string]string{"0": "1", "1": "0"}[before]
	const script = `echo $1 >` + path + ` && cat ` + path + ` && ip link add suites-test type bridge && ip netns add suites-test && ping -c 1 -W 1 127.0.0.1 >/dev/null`
	out, err := apart("sh", "-c", script, "sh", other).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if got := strings.TrimSpace(string(out)); got != other {
		t.Errorf("the suite read %q after it wrote %q", got, other)
	}
	if after := read(); after != before {
		t.Errorf("ip_forward of the host was %s and is %s", before, after)
	}
	for _, left := range []string{"/sys/class/net/suites-test", "/run/netns/suites-test"} {
		if _, err := os.Stat(left); err == nil {
			t.Errorf("%s is left", left)
		}
	}
}
