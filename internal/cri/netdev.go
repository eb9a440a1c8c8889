// SPDX-License-Identifier: Apache-2.0

package cri

import (
	"os"
	"strconv"
	"strings"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"eastwest/internal/cri/network"
	"eastwest/internal/kernel/netns"
)

// netDevice is what a network device counted.
type netDevice struct {
	name           string
	received, sent traffic
}

type traffic struct{ bytes, packets, errors, dropped uint64 }

// readDevices reads the counters of a pod's devices but lo. A pod on the node's network has none of its own.
func readDevices(ns string) []netDevice {
	if ns == "" {
		return nil
	}
	var raw []byte
	err := netns.Do(ns, func() (err error) {
		raw, err = os.ReadFile("/proc/thread-self/net/dev")
		return err
	})
	if err != nil {
		return nil // the pod is about to go
	}
	return parseNetDev(string(raw))
}

// parseNetDev reads /proc/net/dev: eight counters of what was received, then eight of what was sent.
func parseNetDev(text string) []netDevice {
	var out []netDevice
	for line := range strings.Lines(text) {
		name, counters, ok := strings.Cut(line, ":")
		fields := strings.Fields(counters)
		if name = strings.TrimSpace(name); !ok || len(fields) < 12 || name == "lo" {
			continue
		}
		from := func(i int) traffic {
			var n [4]uint64
			for j := range n {
				n[j], _ = strconv.ParseUint(fields[i+j], 10, 64)
			}
			return traffic{bytes: n[0], packets: n[1], errors: n[2], dropped: n[3]}
		}
		out = append(out, netDevice{name: name, received: from(0), sent: from(8)})
	}
	return out
}

func networkUsage(ns string, now time.Time) *runtimeapi.NetworkUsage {
	if ns == "" {
		return nil
	}
	out := &runtimeapi.NetworkUsage{Timestamp: now.UnixNano()}
	for _, d := range readDevices(ns) {
		usage := &runtimeapi.NetworkInterfaceUsage{
			Name: d.name, RxBytes: value(d.received.bytes), RxErrors: value(d.received.errors), TxBytes: value(d.sent.bytes), TxErrors: value(d.sent.errors),
		}
		if d.name == network.Interface {
			out.DefaultInterface = usage
		} else {
			out.Interfaces = append(out.Interfaces, usage)
		}
	}
	return out
}
