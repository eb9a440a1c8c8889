// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// cniAttacher has a plugin ptp connect a pod.
type cniAttacher struct{ plugins, dir string }

func (a cniAttacher) attach(h host, mtu int) (netip.Addr, error) {
	conf := fmt.Sprintf(`{"cniVersion": "1.0.0", "name": "paths", "type": "ptp", "mtu": %d, "ipam": {"type": "host-local", "dataDir": %q,
		"routes": [{"dst": "0.0.0.0/0"}], "ranges": [[{"subnet": %q}]]}}`, mtu, filepath.Join(a.dir, h.name), h.pods)
	c := exec.Command("ip", "netns", "exec", h.name, filepath.Join(a.plugins, "ptp"))
	c.Stdin = strings.NewReader(conf)
	c.Env = append(os.Environ(), "CNI_COMMAND=ADD", "CNI_CONTAINERID="+h.pod, "CNI_NETNS="+pinned+h.pod, "CNI_IFNAME=eth0", "CNI_PATH="+a.plugins)
	out, err := c.Output()
	if err != nil {
		return netip.Addr{}, fmt.Errorf("attach %s by a plugin: %w: %s", h.pod, err, out)
	}
	var result struct {
		IPs []struct {
			Address netip.Prefix `json:"address"`
		} `json:"ips"`
	}
	if err := json.Unmarshal(out, &result); err != nil || len(result.IPs) == 0 {
		return netip.Addr{}, fmt.Errorf("read the plugin's result %s: %w", out, err)
	}
	return result.IPs[0].Address.Addr(), nil
}
