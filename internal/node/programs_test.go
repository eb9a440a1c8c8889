// SPDX-License-Identifier: Apache-2.0

package node

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"eastwest/internal/kernel/netns/netnstest"
)

// output is a log that a test reads while it is written.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) has(part string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.Contains(o.text.String(), part)
}

// A proxy whose program is missing or of long ago says so, and what to do; a program that is new enough is nothing to talk of.
func TestProgramsOfTheWrongVersion(t *testing.T) {
	netnstest.RequireProgram(t, "iptables-restore")
	for name, test := range map[string]struct{ backend, script, want string }{
		"nft of long ago": {"nftables", "#!/bin/sh\ncase $1 in --version) echo 'nftables v0.9.0 (Fearless Fosdick)';; *) echo 'syntax error' >&2; exit 1;; esac\n",
			"nft 0.9.0 is older than 1.0.6, the oldest that is tested: if it refuses the rules, install a newer package nftables, or use --backend iptables"},
		"iptables of long ago": {"iptables", "#!/bin/sh\ncase $1 in --version) echo 'iptables v1.4.21';; *) echo 'unknown option' >&2; exit 2;; esac\n",
			"iptables 1.4.21 is older than 1.8.9, the oldest that is tested: if it refuses the rules, install a newer package iptables, or use --backend nftables"},
		"no nft":      {"nftables", "", "the program nft is missing: install the package nftables"},
		"no iptables": {"iptables", "", "the iptables programs are missing: install the package iptables"},
	} {
		t.Run(name, func(t *testing.T) {
			ns, api, folder := netnstest.New(t), newCluster(t), t.TempDir()
			if test.script != "" {
				for _, program := range []string{"nft", "iptables", "iptables-save", "iptables-restore", "ip6tables-save", "ip6tables-restore"} {
					if err := os.WriteFile(filepath.Join(folder, program), []byte(test.script), 0o755); err != nil {
						t.Fatal(err)
					}
				}
			}
			t.Setenv("PATH", folder)
			log := &output{}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() {
				done <- RunProxy(ctx, ProxyConfig{Detect: DetectNodeCIDR, NetworkConfig: NetworkConfig{
					Client: api.Client, NodeName: "worker", Netns: ns, Backend: test.backend, Log: slog.New(slog.NewTextHandler(log, nil)),
				}})
			}()
			eventually(t, test.want, func() bool { return log.has(test.want) })
			cancel()
			if err := <-done; err != nil {
				t.Errorf("the proxy ended with %v", err)
			}
		})
	}
	for have, old := range map[string]bool{"1.0.6": false, "1.1.3": false, "1.0.5": true, "": false, "unheard of": false} {
		if advice := programOf("nftables").advice(have); (advice != "") != old {
			t.Errorf("version %q: %q", have, advice)
		}
	}
}
