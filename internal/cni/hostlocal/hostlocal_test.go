// SPDX-License-Identifier: Apache-2.0

package hostlocal_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/skel"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/google/go-cmp/cmp"

	"eastwest/internal/cni/hostlocal"
)

func conf(dir, ipam string) string {
	return fmt.Sprintf(`{"cniVersion": "1.1.0", "name": "net", "type": "ptp", "ipam": {"type": "host-local", "dataDir": %q, %s}}`, dir, ipam)
}

func call(conf, id string) *skel.CmdArgs {
	return &skel.CmdArgs{ContainerID: id, IfName: "eth0", StdinData: []byte(conf)}
}

func add(t *testing.T, conf, id string) []string {
	t.Helper()
	got, err := tryAdd(call(conf, id))
	if err != nil {
		t.Fatalf("ADD %s: %v", id, err)
	}
	return got
}

func tryAdd(args *skel.CmdArgs) ([]string, error) {
	result, err := hostlocal.New().Add(context.Background(), args)
	if err != nil {
		return nil, err
	}
	var addrs []string
	for _, ip := range result.(*current.Result).IPs {
		addrs = append(addrs, ip.Address.String()+" via "+ip.Gateway.String())
	}
	return addrs, nil
}

func del(t *testing.T, conf, id string) {
	t.Helper()
	if err := hostlocal.New().Del(context.Background(), call(conf, id)); err != nil {
		t.Errorf("DEL %s: %v", id, err)
	}
}

func TestAddressesOfARange(t *testing.T) {
	tests := []struct {
		name, ipam string
		want       []string
	}{
		{"single range", `"subnet": "10.1.2.0/24"`, []string{"10.1.2.2/24 via 10.1.2.1"}},
		{"start and end", `"subnet": "10.1.2.0/24", "rangeStart": "10.1.2.9", "rangeEnd": "10.1.2.9"`, []string{"10.1.2.9/24 via 10.1.2.1"}},
		{"gateway", `"ranges": [[{"subnet": "10.1.2.0/24", "gateway": "10.1.2.200"}]]`, []string{"10.1.2.1/24 via 10.1.2.200"}},
		{"dual stack", `"ranges": [[{"subnet": "10.1.2.0/24"}], [{"subnet": "2001:db8:1::/64"}]]`,
			[]string{"10.1.2.2/24 via 10.1.2.1", "2001:db8:1::2/64 via 2001:db8:1::1"}},
		{"second range when the first is the gateway alone", `"ranges": [[{"subnet": "10.1.2.0/24", "rangeEnd": "10.1.2.1"}, {"subnet": "10.1.3.0/24"}]]`,
			[]string{"10.1.3.2/24 via 10.1.3.1"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, add(t, conf(t.TempDir(), test.ipam), "a")); diff != "" {
				t.Errorf("addresses (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRoundRobin(t *testing.T) {
	c := conf(t.TempDir(), `"subnet": "10.1.2.0/29"`)
	var got []string
	for i := range 7 {
		id := fmt.Sprintf("c%d", i)
		got = append(got, strings.Split(add(t, c, id)[0], "/")[0])
		del(t, c, id)
	}
	want := []string{"10.1.2.2", "10.1.2.3", "10.1.2.4", "10.1.2.5", "10.1.2.6", "10.1.2.2", "10.1.2.3"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("addresses in turn (-want +got):\n%s", diff)
	}
}

func TestExhaustedRangeSaysByWhom(t *testing.T) {
	c := conf(t.TempDir(), `"subnet": "10.1.2.0/30"`)
	add(t, c, "holder")
	_, err := tryAdd(call(c, "late"))
	if err == nil {
		t.Fatal("an address was handed out of a full range")
	}
	for _, want := range []string{"no IP addresses available in range set: 10.1.2.1-10.1.2.2", "1 held", "holder (1)"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not say %q", err, want)
		}
	}
	del(t, c, "holder")
	add(t, c, "late")
}

func TestAddTwiceIsRefused(t *testing.T) {
	c := conf(t.TempDir(), `"subnet": "10.1.2.0/24"`)
	add(t, c, "a")
	_, err := tryAdd(call(c, "a"))
	if err == nil || !strings.Contains(err.Error(), "10.1.2.2 has been allocated to a, duplicate allocation is not allowed") {
		t.Errorf("error = %v, want a duplicate", err)
	}
}

func TestRequestedAddresses(t *testing.T) {
	ranges := `"ranges": [[{"subnet": "10.1.2.0/24"}], [{"subnet": "2001:db8::/64"}]]`
	tests := []struct {
		name, extra, env string
		want             []string
		fails            string
	}{
		{name: "CNI_ARGS", env: "IgnoreUnknown=1;K8S_POD_NAME=x;IP=10.1.2.88", want: []string{"10.1.2.88/24 via 10.1.2.1", "2001:db8::2/64 via 2001:db8::1"}},
		{name: "args", extra: `"args": {"cni": {"ips": ["10.1.2.88"]}}`, want: []string{"10.1.2.88/24 via 10.1.2.1", "2001:db8::2/64 via 2001:db8::1"}},
		{name: "capability", extra: `"runtimeConfig": {"ips": ["10.1.2.88/24", "2001:db8::999"]}`, want: []string{"10.1.2.88/24 via 10.1.2.1", "2001:db8::999/64 via 2001:db8::1"}},
		{name: "gateway", env: "IP=10.1.2.1", fails: "gateway"},
		{name: "elsewhere", env: "IP=10.9.9.9", fails: "failed to allocate all requested IPs"},
		{name: "not an address", env: "IP=ten", fails: "requested address"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			c := conf(dir, ranges)
			if test.extra != "" {
				c = strings.TrimSuffix(c, "}") + ", " + test.extra + "}"
			}
			args := call(c, "a")
			args.Args = test.env
			got, err := tryAdd(args)
			if test.fails != "" {
				if err == nil || !strings.Contains(err.Error(), test.fails) {
					t.Fatalf("error = %v, want one about %q", err, test.fails)
				}
				if held, _ := filepath.Glob(filepath.Join(dir, "net", "*2*")); len(held) > 0 {
					t.Errorf("after the failure these are held: %v", held)
				}
				return
			}
			if diff := cmp.Diff(test.want, got); err != nil || diff != "" {
				t.Errorf("%v; addresses (-want +got):\n%s", err, diff)
			}
		})
	}
}

func TestWrongConfigurations(t *testing.T) {
	for ipam, want := range map[string]string{
		`"x": 1`:                  "no IP ranges specified",
		`"subnet": "10.1.2.0/31"`: "too small",
		`"subnet": "10.1.2.9/24"`: "host bits set",
		`"ranges": [[]]`:          "empty range set",
		`"ranges": [[{}]]`:        "subnet is missing",
		`"subnet": "10.1.2.0/24", "rangeStart": "10.1.3.1"`:                         "RangeStart 10.1.3.1 not in network",
		`"subnet": "10.1.2.0/24", "rangeStart": "10.1.2.9", "rangeEnd": "10.1.2.3"`: "RangeEnd",
		`"ranges": [[{"subnet": "10.1.2.0/24"}, {"subnet": "2001:db8::/64"}]]`:      "mixed address families",
		`"ranges": [[{"subnet": "10.1.2.0/24"}], [{"subnet": "10.1.2.128/25"}]]`:    "range set 0 overlaps with 1",
		`"ranges": [[{"subnet": "10.1.2.0/24"}, {"subnet": "10.1.2.128/25"}]]`:      "overlap",
	} {
		_, err := tryAdd(call(conf(t.TempDir(), ipam), "a"))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error = %v, want one about %q", ipam, err, want)
		}
	}
}

// The reference plugin's files: what it left is respected and freed, what we leave is as it expects.
func TestFilesOfTheReferencePlugin(t *testing.T) {
	dir := t.TempDir()
	net := filepath.Join(dir, "net")
	write := func(name, text string) {
		if err := os.MkdirAll(net, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(net, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := conf(dir, `"subnet": "10.1.2.0/24"`)
	write("10.1.2.2", "old\r\neth0")
	write("10.1.2.3", "older")
	write("10.1.2.5", "") // killed between making and writing
	write("last_reserved_ip.0", "10.1.2.3")
	if got := add(t, c, "new")[0]; got != "10.1.2.4/24 via 10.1.2.1" {
		t.Errorf("first address = %s, want the one after the last reserved", got)
	}
	if got := add(t, c, "next")[0]; got != "10.1.2.5/24 via 10.1.2.1" {
		t.Errorf("next address = %s, want the one of the killed call", got)
	}
	text, err := os.ReadFile(filepath.Join(net, "10.1.2.4"))
	if err != nil || string(text) != "new\r\neth0" {
		t.Errorf("lease = %q, %v", text, err)
	}
	for _, id := range []string{"old", "older"} {
		if err := hostlocal.New().Check(context.Background(), call(c, id)); err != nil {
			t.Errorf("CHECK %s: %v", id, err)
		}
		del(t, c, id)
	}
	for _, name := range []string{"10.1.2.2", "10.1.2.3"} {
		if _, err := os.Stat(filepath.Join(net, name)); !os.IsNotExist(err) {
			t.Errorf("%s is still held", name)
		}
	}
	// Behind our back, as a downgraded plugin would.
	write("10.1.2.9", "foreign\r\neth0")
	os.Remove(filepath.Join(net, "10.1.2.4"))
	if _, err := tryAdd(call(c, "foreign")); err == nil {
		t.Error("a container that another plugin gave an address got a second one")
	}
	add(t, c, "new")
}

// Leases that people wrote, or other programs, may begin and end with whitespace.
func TestLeasesWithWhitespace(t *testing.T) {
	dir := t.TempDir()
	lease := filepath.Join(dir, "net", "10.1.2.2")
	if err := errors.Join(os.MkdirAll(filepath.Dir(lease), 0o755), os.WriteFile(lease, []byte("  held\r\neth0\n\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	c := conf(dir, `"subnet": "10.1.2.0/24"`)
	if err := hostlocal.New().Check(context.Background(), call(c, "held")); err != nil {
		t.Errorf("CHECK: %v", err)
	}
	if got := add(t, c, "new")[0]; got != "10.1.2.3/24 via 10.1.2.1" {
		t.Errorf("another container got %s", got)
	}
	del(t, c, "held")
	if _, err := os.Stat(lease); !os.IsNotExist(err) {
		t.Errorf("the address is still held: %v", err)
	}
}

func TestGC(t *testing.T) {
	dir := t.TempDir()
	c := conf(dir, `"subnet": "10.1.2.0/24"`)
	for _, id := range []string{"a", "b", "c"} {
		add(t, c, id)
	}
	var m map[string]any
	if err := json.Unmarshal([]byte(c), &m); err != nil {
		t.Fatal(err)
	}
	m["cni.dev/valid-attachments"] = []map[string]string{{"containerID": "b", "ifname": "eth0"}}
	gc, _ := json.Marshal(m)
	if err := hostlocal.New().GC(context.Background(), &skel.CmdArgs{StdinData: gc}); err != nil {
		t.Fatal(err)
	}
	for id, held := range map[string]bool{"a": false, "b": true, "c": false} {
		if err := hostlocal.New().Check(context.Background(), call(c, id)); (err == nil) != held {
			t.Errorf("after GC, CHECK %s = %v", id, err)
		}
	}
}

func TestReadOnlyDataDir(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := tryAdd(call(conf(file, `"subnet": "10.1.2.0/24"`), "a"))
	if err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("error = %v, want one that names %s", err, file)
	}
}

func TestResolvConf(t *testing.T) {
	file := filepath.Join(t.TempDir(), "resolv.conf")
	text := "# comment\nnameserver 192.0.2.1\nnameserver  192.0.2.2\nsearch a.example b.example\noptions ndots:5 \ndomain example\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c := conf(t.TempDir(), fmt.Sprintf(`"subnet": "10.1.2.0/24", "resolvConf": %q`, file))
	result, err := hostlocal.New().Add(context.Background(), call(c, "a"))
	if err != nil {
		t.Fatal(err)
	}
	dns := result.(*current.Result).DNS
	got := fmt.Sprintf("%v %v %v %s", dns.Nameservers, dns.Search, dns.Options, dns.Domain)
	if want := "[192.0.2.1 192.0.2.2] [a.example b.example] [ndots:5] example"; got != want {
		t.Errorf("dns = %s, want %s", got, want)
	}
}
