// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// peer is a proxy to be measured, or a file of rules.
type peer struct{ name, program, mode, rules string }

// running is a proxy at work in a lab.
type running struct {
	cmd   *exec.Cmd
	log   *os.File
	lab   *lab
	begun time.Time

	server string // of the API
	api    func() // ends it; nil where somebody else does
}

func (p peer) start(l *lab, server string) (*running, error) {
	args := []string{"--master", server, "--proxy-mode", p.mode, "--cluster-cidr", "10.244.0.0/16", "--hostname-override", nodeName}
	if strings.HasPrefix(p.name, "eastwest") {
		args = append([]string{"proxy", "--run-dir", l.runDir()}, args...)
	} else {
		args = append(args, "--conntrack-max-per-core=0", "--conntrack-min=0", "--conntrack-tcp-timeout-established=0",
			"--conntrack-tcp-timeout-close-wait=0", "--healthz-bind-address=127.0.0.1:10256")
	}
	log, err := os.CreateTemp("", "proxy-*.log")
	if err != nil {
		return nil, err
	}
	r := &running{cmd: exec.Command(p.program, args...), log: log, lab: l, server: server}
	r.cmd.Stdout, r.cmd.Stderr = log, log
	r.begun = time.Now()
	return r, inside(l.node, r.cmd.Start)
}

// stop kills the proxy.
func (r *running) stop() { r.end(os.Kill) }

// end sends the proxy a signal that ends it.
func (r *running) end(signal os.Signal) {
	r.cmd.Process.Signal(signal)
	r.cmd.Wait()
	os.Remove(r.log.Name())
	r.log.Close()
}

var (
	lastSync = regexp.MustCompile(`(?m)^kubeproxy_sync_proxy_rules_last_timestamp_seconds\{ip_family="IPv4"\} (\S+)$`)
	fullSync = regexp.MustCompile(`(?m)^kubeproxy_sync_proxy_rules_duration_seconds_sum\{ip_family="IPv4"\} (\S+)$`)
)

// synced waits until the proxy says that everything is in the kernel, and returns when, since it was started, and how long
// it worked on that itself.
func (r *running) synced() (whole, work time.Duration, err error) {
	for time.Since(r.begun) < 20*time.Minute {
		text, err := r.metrics()
		match, sum := lastSync.FindStringSubmatch(text), fullSync.FindStringSubmatch(text)
		if err == nil && match != nil && sum != nil {
			at, _ := strconv.ParseFloat(match[1], 64)
			if at > 0 {
				took, _ := strconv.ParseFloat(sum[1], 64)
				return time.Unix(0, int64(at*1e9)).Sub(r.begun), time.Duration(took * 1e9), nil
			}
		}
		if r.cmd.ProcessState != nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	text, _ := os.ReadFile(r.log.Name())
	return 0, 0, fmt.Errorf("the proxy did not come up: %s", text[max(0, len(text)-2000):])
}

func (r *running) metrics() (text string, err error) {
	err = inside(r.lab.node, func() error {
		conn, err := net.DialTimeout("tcp", "127.0.0.1:10249", time.Second)
		if err != nil {
			return err
		}
		defer conn.Close()
		request, _ := http.NewRequest(http.MethodGet, "http://127.0.0.1:10249/metrics", nil)
		client := http.Client{Transport: &http.Transport{Dial: func(string, string) (net.Conn, error) { return conn, nil }, DisableKeepAlives: true}}
		response, err := client.Do(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		text = string(body)
		return err
	})
	return text, err
}

var memory = regexp.MustCompile(`(?m)^(Rss|Pss): +(\d+) kB`)

// mib returns resident and proportional memory.
func (r *running) mib() (rss, pss int, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", r.cmd.Process.Pid))
	if err != nil {
		return 0, 0, err
	}
	for _, match := range memory.FindAllStringSubmatch(string(text), -1) {
		kib, _ := strconv.Atoi(match[2])
		if match[1] == "Rss" {
			rss = kib >> 10
		} else {
			pss = kib >> 10
		}
	}
	return rss, pss, nil
}

// cpu returns the processor time that the proxy and the programs that it ran have used.
func (r *running) cpu() (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", r.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, rest, ok := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 15 {
		return 0, errors.New("read /proc/PID/stat")
	}
	var ticks int
	for _, f := range fields[11:15] {
		n, _ := strconv.Atoi(f)
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
}
