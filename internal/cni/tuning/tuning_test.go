// SPDX-License-Identifier: Apache-2.0

package tuning

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMostSpecificSourceCounts(t *testing.T) {
	for _, test := range []struct{ conf, cniArgs, want string }{
		{`{"mac": "02:00:00:00:00:01"}`, "", "02:00:00:00:00:01"},
		{`{"mac": "02:00:00:00:00:01"}`, "IgnoreUnknown=1;MAC=02:00:00:00:00:02", "02:00:00:00:00:02"},
		{`{"mac": "02:00:00:00:00:01", "runtimeConfig": {"mac": "02:00:00:00:00:03"}}`, "MAC=02:00:00:00:00:02", "02:00:00:00:00:03"},
		{`{"runtimeConfig": {"mac": "02:00:00:00:00:03"}, "args": {"cni": {"mac": "02:00:00:00:00:04"}}}`, "", "02:00:00:00:00:04"},
	} {
		c, err := parse([]byte(test.conf), test.cniArgs)
		if err != nil {
			t.Fatal(err)
		}
		if c.want.MAC != test.want {
			t.Errorf("%s with CNI_ARGS %q: %s, want %s", test.conf, test.cniArgs, c.want.MAC, test.want)
		}
	}
	c, err := parse([]byte(`{"sysctl": {"net.a": "1", "net.b": "1"}, "args": {"cni": {"sysctl": {"net.b": "2"}, "promisc": true}}}`), "")
	if err != nil || c.SysCtl["net.a"] != "1" || c.SysCtl["net.b"] != "2" || c.want.Promisc == nil {
		t.Errorf("args are not merged: %+v, %v", c, err)
	}
}

func TestSysctlsThatAreThereTwiceAreRefused(t *testing.T) {
	_, err := parse([]byte(`{"sysctl": {"net.a": "1", "net.b": "2", "net.a": "3"}}`), "")
	if err == nil || !strings.Contains(err.Error(), "duplicated sysctl keys are not allowed") {
		t.Errorf("error = %v", err)
	}
}

func TestAllowList(t *testing.T) {
	file := filepath.Join(t.TempDir(), "allowlist.conf")
	c, err := parse([]byte(`{"sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1"}}`), "")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.checkAllowed(file); err != nil {
		t.Errorf("without a list: %v", err)
	}
	for list, allowed := range map[string]bool{
		"^net\\.ipv4\\.conf\\.IFNAME\\.[a-z_]*$\n": true,
		"\n^net\\.core\\.\n":                       false,
		"":                                         false,
	} {
		if err := os.WriteFile(file, []byte(list), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := c.checkAllowed(file); (err == nil) != allowed {
			t.Errorf("with the list %q: %v", list, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"sysctl": {"net.core.somaxconn": "500"}, "mtu": 1400, "args": {"cni": {"mac": "02:00:00:00:00:04"}}}`), "IgnoreUnknown=1;MAC=02:00:00:00:00:02")
	f.Fuzz(func(t *testing.T, stdin []byte, cniArgs string) {
		c, err := parse(stdin, cniArgs)
		if err != nil {
			return
		}
		for key := range c.SysCtl {
			if name, err := parameter(key, "eth0"); err == nil && !strings.HasPrefix(filepath.Clean("/proc/sys/"+name), "/proc/sys/net/") {
				t.Errorf("%q names %s, outside the network", key, name)
			}
		}
	})
}
