// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	mdns "github.com/miekg/dns"
)

// Ports of the loopback interface.
const (
	ourPort  = 5301
	corePort = 5302
	knotPort = 5303
)

// server is one of those that are compared.
type server struct {
	name  string
	port  int
	cmd   *exec.Cmd
	ready time.Duration // from the start to the first right answer
}

func (o *options) start(api string) ([]*server, error) {
	if err := o.files(api); err != nil {
		return nil, err
	}
	knot := &server{name: "knot", port: knotPort, cmd: exec.Command("knotd", "-c", filepath.Join(o.dir, "knot.conf"))}
	ours := &server{name: "eastwest", port: ourPort, cmd: exec.Command(o.node, "dns", "--kubeconfig", filepath.Join(o.dir, "kubeconfig"),
		"--listen", fmt.Sprint("127.0.0.1:", ourPort), "--resolv-conf", "", "--upstream", fmt.Sprint("127.0.0.1:", knotPort))}
	core := &server{name: "coredns", port: corePort, cmd: exec.Command(o.coredns, "-conf", filepath.Join(o.dir, "Corefile"))}
	var started []*server
	for _, s := range []*server{knot, ours, core} { // the others forward to Knot
		log, err := os.Create(filepath.Join(o.dir, s.name+".log"))
		if err != nil {
			return started, err
		}
		s.cmd.Stdout, s.cmd.Stderr = log, log
		s.cmd.SysProcAttr = dieWithUs()
		begin := time.Now()
		if err := s.cmd.Start(); err != nil {
			return started, fmt.Errorf("start %s: %w", s.name, err)
		}
		started = append(started, s)
		if err := s.await(o.services - 1); err != nil {
			text, _ := os.ReadFile(log.Name())
			return started, fmt.Errorf("%w\n%s", err, text)
		}
		s.ready = time.Since(begin)
	}
	return []*server{ours, core, knot}, nil
}

// dieWithUs has a benchmark that is killed leave nobody at the ports.
func dieWithUs() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

// await returns when the server answers about a service.
func (s *server) await(service int) error {
	namespace, name, ip := serviceOf(service)
	c := mdns.Client{Timeout: 100 * time.Millisecond}
	q := new(mdns.Msg).SetQuestion(name+"."+namespace+".svc.cluster.local.", mdns.TypeA)
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		m, _, err := c.Exchange(q, fmt.Sprint("127.0.0.1:", s.port))
		if err == nil && len(m.Answer) == 1 && m.Answer[0].(*mdns.A).A.String() == ip {
			return nil
		}
	}
	return fmt.Errorf("%s does not answer about %s", s.name, q.Question[0].Name)
}

func (s *server) stop() error {
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	var exit *exec.ExitError
	if err := s.cmd.Wait(); err != nil && !errors.As(err, &exit) {
		return err
	}
	return nil
}

// processorTime is what all threads of a server have used of the processors: unlike the time that a client waits, it depends
// little on what else the machine does.
func (s *server) processorTime() (sum time.Duration) {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", s.cmd.Process.Pid))
	for _, path := range threads {
		var running int64
		if text, err := os.ReadFile(path); err == nil {
			_, _ = fmt.Sscan(string(text), &running)
		}
		sum += time.Duration(running)
	}
	return sum
}

func readiness(servers []*server) map[string]time.Duration {
	ready := map[string]time.Duration{}
	for _, s := range servers {
		ready[s.name] = s.ready
	}
	return ready
}

func stopAll(servers []*server) (err error) {
	for _, s := range servers {
		err = errors.Join(err, s.stop())
	}
	return err
}

// printMemory prints what servers have resident in the end, and how long each start took.
func printMemory(servers []*server, starts []map[string]time.Duration, all *summaries) error {
	fmt.Fprintln(os.Stdout, "resident memory afterwards, and from start to the first right answer, median of", len(starts))
	for _, s := range servers {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
		if err != nil {
			return err
		}
		_, rest, _ := strings.Cut(string(status), "VmRSS:")
		var kb int
		if _, err := fmt.Sscan(rest, &kb); err != nil {
			return fmt.Errorf("read memory of %s: %w", s.name, err)
		}
		took := make([]time.Duration, 0, len(starts))
		for _, start := range starts {
			took = append(took, start[s.name])
		}
		ready := middle(took) // sorts them
		fmt.Fprintf(os.Stdout, "  %-9s %4d MB  %5d ms (%d–%d)\n", s.name, kb/1024, ready.Milliseconds(), took[0].Milliseconds(), took[len(took)-1].Milliseconds())
		all.add("memory, MB", s.name, float64(kb)/1024)
		all.add("start, ms", s.name, float64(ready.Milliseconds()))
	}
	return nil
}
