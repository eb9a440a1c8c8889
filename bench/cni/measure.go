// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/containernetworking/cni/libcni"
	"golang.org/x/sys/unix"
)

type bench struct {
	dir                    string
	ours, alone, reference *side
	ctx                    context.Context
	pods                   int
}

const (
	withPorts    = `, {"type": "portmap", "capabilities": {"portMappings": true}}`
	withoutPorts = ""
)

// list is the network of the article: ptp, host-local and, if asked for, portmap. The subnet holds 65,000 containers.
func (s *side) list(ports string) (*libcni.NetworkConfigList, error) {
	return libcni.NetworkConfFromBytes(fmt.Appendf(nil, `{"cniVersion": "1.0.0", "name": "net", "plugins": [
		{"type": "ptp", "mtu": 1500, "ipMasq": false, "ipam": {"type": "host-local", "dataDir": %q,
			"routes": [{"dst": "0.0.0.0/0"}], "ranges": [[{"subnet": "10.77.0.0/16"}]]}}%s]}`, s.data, ports))
}

// pod makes a namespace and the arguments that a runtime would give. The port is the container's own.
func (b *bench) pod() (*libcni.RuntimeConf, error) {
	b.pods++
	path := filepath.Join(b.dir, fmt.Sprintf("ns%d", b.pods))
	if err := makeNamespace(path); err != nil {
		return nil, err
	}
	return &libcni.RuntimeConf{
		ContainerID: fmt.Sprintf("bench%d", b.pods), NetNS: path, IfName: "eth0",
		CapabilityArgs: map[string]any{"portMappings": []map[string]any{{"hostPort": 20000 + b.pods%10000, "containerPort": 80, "protocol": "tcp"}}},
	}, nil
}

// times of one container: on the clock, and the processors' time of the plugins and of all that they run.
type times struct{ add, del, addCPU, delCPU time.Duration }

// children is the processors' time of all processes that were started and have ended.
func children() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_CHILDREN, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// settle lets the kernel finish what it does later, such as taking the last container's namespace apart, which holds locks
// that the next step would wait for.
func settle() { time.Sleep(150 * time.Millisecond) }

func (b *bench) addDel(s *side, list *libcni.NetworkConfigList) (times, error) {
	pod, err := b.pod()
	if err != nil {
		return times{}, err
	}
	show, err := s.hide()
	if err != nil {
		return times{}, err
	}
	defer show()
	var t times
	begin, cpu := time.Now(), s.cpu()
	if _, err := s.cni.AddNetworkList(b.ctx, list, pod); err != nil {
		return t, fmt.Errorf("%s: ADD: %w", s.name, err)
	}
	t.add, t.addCPU = time.Since(begin), s.cpu()-cpu
	settle()
	begin, cpu = time.Now(), s.cpu()
	if err := s.cni.DelNetworkList(b.ctx, list, pod); err != nil {
		return t, fmt.Errorf("%s: DEL: %w", s.name, err)
	}
	t.del, t.delCPU = time.Since(begin), s.cpu()-cpu
	return t, removeNamespace(pod.NetNS)
}

// oneByOne takes the sides in turn, so that both see the same machine.
func (b *bench) oneByOne(runs int) error {
	for _, what := range []struct{ name, ports string }{{"ptp + host-local + portmap", withPorts}, {"ptp + host-local", withoutPorts}} {
		var add, del, addCPU, delCPU [3][]time.Duration
		var kernel []time.Duration
		for range runs {
			for i, s := range b.sides() {
				list, err := s.list(what.ports)
				if err != nil {
					return err
				}
				t, err := b.addDel(s, list)
				if err != nil {
					return err
				}
				add[i], del[i] = append(add[i], t.add), append(del[i], t.del)
				addCPU[i], delCPU[i] = append(addCPU[i], t.addCPU), append(delCPU[i], t.delCPU)
			}
			_, d, err := b.deviceTimes()
			if err != nil {
				return err
			}
			kernel = append(kernel, d)
		}
		fmt.Printf("%s, one by one, %d each\n", what.name, runs)
		b.compare("ADD", add)
		b.compare("DEL", del)
		b.compare("ADD, CPU", addCPU)
		b.compare("DEL, CPU", delCPU)
		fmt.Printf("  kernel deletes such a pair   %s; our DEL takes %.1f ms more, alone %.1f ms\n",
			spread(kernel), ms(median(del[0])-median(kernel)), ms(median(del[1])-median(kernel)))
	}
	return nil
}

func (b *bench) sides() []*side { return []*side{b.ours, b.alone, b.reference} }

// compare prints what a step took each side, and ours in the reference's.
func (b *bench) compare(what string, took [3][]time.Duration) {
	for i, s := range b.sides() {
		fmt.Printf("  %-9s %-16s %-24s", what, s.name, spread(took[i]))
		if s != b.reference {
			fmt.Printf("  1/%.1f", ratio(median(took[2]), median(took[i])))
		}
		fmt.Println()
	}
}

const together = 100

// atOnce adds many containers at the same time, as after a node's start.
func (b *bench) atOnce(int) error {
	fmt.Printf("ptp + host-local + portmap, %d ADDs at once\n", together)
	var total [3]time.Duration
	var each [3][]time.Duration
	for i, s := range b.sides() {
		var err error
		if total[i], each[i], err = b.crowd(s); err != nil {
			return err
		}
	}
	for i, s := range b.sides() {
		fmt.Printf("  %-16s total %6.0f ms, median %6.0f ms, p99 %6.0f ms", s.name, ms(total[i]), ms(median(each[i])), ms(quantile(each[i], 0.99)))
		if s != b.reference {
			fmt.Printf("  total 1/%.1f, p99 1/%.1f", ratio(total[2], total[i]), ratio(quantile(each[2], 0.99), quantile(each[i], 0.99)))
		}
		fmt.Println()
	}
	return nil
}

// crowd adds and deletes the containers of one side.
func (b *bench) crowd(s *side) (total time.Duration, each []time.Duration, err error) {
	show, err := s.hide()
	if err != nil {
		return 0, nil, err
	}
	defer show()
	list, err := s.list(withPorts)
	if err != nil {
		return 0, nil, err
	}
	pods := make([]*libcni.RuntimeConf, together)
	for n := range pods {
		if pods[n], err = b.pod(); err != nil {
			return 0, nil, err
		}
	}
	if total, each, err = b.addAll(s, list, pods); err != nil {
		return 0, nil, err
	}
	for _, p := range pods {
		if err := errors.Join(s.cni.DelNetworkList(b.ctx, list, p), removeNamespace(p.NetNS)); err != nil {
			return 0, nil, fmt.Errorf("%s: DEL: %w", s.name, err)
		}
	}
	return total, each, nil
}

func (b *bench) addAll(s *side, list *libcni.NetworkConfigList, pods []*libcni.RuntimeConf) (time.Duration, []time.Duration, error) {
	each, failed := make([]time.Duration, len(pods)), make([]error, len(pods))
	var wait sync.WaitGroup
	begin := time.Now()
	for i, p := range pods {
		wait.Go(func() {
			started := time.Now()
			_, failed[i] = s.cni.AddNetworkList(b.ctx, list, p)
			each[i] = time.Since(started)
		})
	}
	wait.Wait()
	return time.Since(begin), each, errors.Join(failed...)
}

const (
	fullLeases   = 10000
	fullMappings = 1000
)

// fullNode measures our ADD and DEL on a node with many leases and port mappings beside the same on an empty one. The
// mappings are one container's, the leases those of containers without any devices.
func (b *bench) fullNode(runs int) error {
	list, err := b.ours.list(withPorts)
	if err != nil {
		return err
	}
	measure := func() (add, del []time.Duration, err error) {
		for range runs {
			t, err := b.addDel(b.ours, list)
			if err != nil {
				return nil, nil, err
			}
			add, del = append(add, t.add), append(del, t.del)
		}
		return add, del, nil
	}
	emptyAdd, emptyDel, err := measure()
	if err != nil {
		return err
	}
	crowd, err := b.pod()
	if err != nil {
		return err
	}
	var mappings []map[string]any
	for n := range fullMappings {
		mappings = append(mappings, map[string]any{"hostPort": 40000 + n, "containerPort": 80, "protocol": "tcp"})
	}
	crowd.CapabilityArgs = map[string]any{"portMappings": mappings}
	if _, err := b.ours.cni.AddNetworkList(b.ctx, list, crowd); err != nil {
		return fmt.Errorf("map %d ports: %w", fullMappings, err)
	}
	for n := range fullLeases {
		file := filepath.Join(b.ours.data, "net", fmt.Sprintf("10.77.%d.%d", 100+n/250, 1+n%250))
		if err := os.WriteFile(file, fmt.Appendf(nil, "other%d\r\neth0", n), 0o600); err != nil {
			return err
		}
	}
	if _, err := b.addDel(b.ours, list); err != nil { // notices that the leases were changed by another
		return err
	}
	fullAdd, fullDel, err := measure()
	if err != nil {
		return err
	}
	fmt.Printf("eastwest, ptp + host-local + portmap, %d leases and %d port mappings beside an empty node\n", fullLeases, fullMappings)
	fmt.Printf("  ADD  empty %s, full %s, %+.0f %%\n", spread(emptyAdd), spread(fullAdd), 100*(ratio(median(fullAdd), median(emptyAdd))-1))
	fmt.Printf("  DEL  empty %s, full %s, %+.0f %%\n", spread(emptyDel), spread(fullDel), 100*(ratio(median(fullDel), median(emptyDel))-1))
	return nil
}
