// SPDX-License-Identifier: Apache-2.0

package serve_test

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"eastwest/internal/cni/program"
	"eastwest/internal/kernel/netns/netnstest"
)

const (
	workers = 6
	times   = 40 // times that each worker attaches and detaches its container
)

// Containers come and go, several at once, while the server is killed and started again and again. Each call is done or fails as
// one that may be tried again; no address is given twice, and none is left.
func TestManyWhileTheServerIsKilled(t *testing.T) {
	h := &held{t: t, leases: filepath.Join(t.TempDir(), "leases"), by: map[string]string{}}
	var work sync.WaitGroup
	for n := range workers {
		sandbox := netnstest.New(t)
		work.Go(func() { h.comeAndGo(fmt.Sprintf("worker%d", n), sandbox) })
	}
	done := make(chan bool)
	go func() {
		work.Wait()
		close(done)
	}()
	servers := 0
	for ended := false; !ended; servers++ {
		c := exec.Command(filepath.Join(plugins, program.Name), "serve")
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		select {
		case <-done:
			ended = true
		case <-time.After(time.Duration(30+17*(servers%5)) * time.Millisecond): // enough for some calls, and in the middle of others
		}
		_ = c.Process.Kill()
		_ = c.Wait()
	}
	t.Logf("%d servers; %d calls failed since theirs was killed", servers, h.failed)
	if left := run(t, "ip -o link show type veth; ls "+h.leases+"/net | grep '^[1f]'; true"); left != "" {
		t.Errorf("left: %s", left)
	}
}

// held is who has which address.
type held struct {
	t      *testing.T
	leases string

	mu     sync.Mutex
	by     map[string]string
	failed int
}

func (h *held) comeAndGo(container, sandbox string) {
	for range times {
		out, done := h.try("ADD", container, sandbox, conf(h.leases))
		for !done {
			h.detach(container, sandbox)
			out, done = h.try("ADD", container, sandbox, conf(h.leases))
		}
		var result struct {
			IPs []struct{ Address string }
		}
		if err := json.Unmarshal([]byte(out), &result); err != nil || len(result.IPs) != 1 {
			h.t.Errorf("ADD said %q: %v", out, err)
			return
		}
		h.has(result.IPs[0].Address, container)
		for whole := false; !whole; {
			_, whole = h.try("CHECK", container, sandbox, strings.TrimSuffix(conf(h.leases), "}")+`, "prevResult": `+out+"}")
		}
		h.has(result.IPs[0].Address, "")
		h.detach(container, sandbox)
	}
}

// has notes who has an address; nobody else may have it.
func (h *held) has(address, container string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if other := h.by[address]; other != "" && container != "" {
		h.t.Errorf("%s has the address %s of %s", container, address, other)
	}
	h.by[address] = container
}

// detach tries until it is done.
func (h *held) detach(container, sandbox string) {
	for done := false; !done && !h.t.Failed(); {
		_, done = h.try("DEL", container, sandbox, conf(h.leases))
	}
}

// try calls a plugin. A call that fails must do so because its server was killed.
func (h *held) try(verb, container, sandbox, conf string) (out string, done bool) {
	c := calling("ptp", verb, container, conf)
	c.Env = append(c.Env, "CNI_NETNS="+sandbox)
	said, err := c.Output()
	if err == nil {
		return string(said), true
	}
	var told struct{ Code uint }
	if json.Unmarshal(said, &told) != nil || told.Code != 11 {
		h.t.Errorf("%s of %s: %v: %s", verb, container, err, said)
		return "", true
	}
	h.mu.Lock()
	h.failed++
	h.mu.Unlock()
	return "", false
}
