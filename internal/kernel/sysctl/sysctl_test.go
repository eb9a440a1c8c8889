// SPDX-License-Identifier: Apache-2.0

package sysctl_test

import (
	"errors"
	"os"
	"testing"

	"eastwest/internal/kernel/netns/netnstest"
	"eastwest/internal/kernel/sysctl"
)

func TestSetIsSeenByGetInsideTheNamespaceOnly(t *testing.T) {
	const name = "net/ipv4/conf/lo/rp_filter"
	path := netnstest.New(t)
	outside, err := sysctl.Get(name)
	if err != nil {
		t.Fatal(err)
	}
	other := map[string]string{"0": "1", "1": "2", "2": "1"}[outside]
	netnstest.In(t, path, func() error {
		if err := sysctl.Ensure(name, other); err != nil {
			return err
		}
		got, err := sysctl.Get(name)
		if got != other {
			t.Errorf("inside the namespace %s = %q, want %q", name, got, other)
		}
		return err
	})
	if got, err := sysctl.Get(name); err != nil || got != outside {
		t.Errorf("outside the namespace %s = %q, %v; want %q unchanged", name, got, err, outside)
	}
}

func TestNamesStayBelowProcSys(t *testing.T) {
	for _, name := range []string{"../version", "/etc/passwd", "net/../../version", ""} {
		if _, err := sysctl.Get(name); err == nil {
			t.Errorf("Get(%q) succeeded", name)
		}
		if err := sysctl.Set(name, "1"); err == nil {
			t.Errorf("Set(%q) succeeded", name)
		}
	}
}

func TestMissingParameter(t *testing.T) {
	if _, err := sysctl.Get("net/ipv4/conf/none/forwarding"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error = %v, want os.ErrNotExist", err)
	}
}
