// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"eastwest/internal/kubelet/pod"
)

// stream asks the runtime for a streaming address and passes the connection through, whatever protocol it is upgraded to.
func (s *Server) stream(kind string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, ok := s.find(w, r)
		if !ok {
			return
		}
		var target string
		var err error
		if kind == "portForward" {
			target, err = s.forwardURL(r, v)
		} else {
			c := running(w, v, r.PathValue("container"))
			if c == nil {
				return
			}
			target, err = s.streamURL(r, kind, c.ID)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		s.pass(w, r, target)
	}
}

// flag reads the query's words for a stream, both the API's and the kubelet's own.
func flag(q url.Values, names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool { return q.Get(name) == "1" || q.Get(name) == "true" })
}

func (s *Server) streamURL(r *http.Request, kind, container string) (string, error) {
	q := r.URL.Query()
	stdin, stdout := flag(q, "input", "stdin"), flag(q, "output", "stdout")
	stderr, tty := flag(q, "error", "stderr"), flag(q, "tty")
	if !stdin && !stdout && !stderr {
		return "", errors.New("you must specify at least 1 of stdin, stdout, stderr")
	}
	stderr = stderr && !tty // a terminal has one output
	if kind == "attach" {
		answer, err := s.config.Runtime.Attach(r.Context(), &runtimeapi.AttachRequest{
			ContainerId: container, Stdin: stdin, Stdout: stdout, Stderr: stderr, Tty: tty})
		return answer.GetUrl(), err
	}
	answer, err := s.config.Runtime.Exec(r.Context(), &runtimeapi.ExecRequest{
		ContainerId: container, Cmd: q["command"], Stdin: stdin, Stdout: stdout, Stderr: stderr, Tty: tty})
	return answer.GetUrl(), err
}

func (s *Server) forwardURL(r *http.Request, v pod.View) (string, error) {
	sandbox := v.State.ReadySandbox()
	if sandbox == nil {
		return "", fmt.Errorf("pod %s/%s has no running sandbox to forward ports to", v.Pod.Namespace, v.Pod.Name)
	}
	var ports []int32
	for _, text := range r.URL.Query()["port"] {
		n, err := strconv.ParseUint(text, 10, 16)
		if err != nil {
			return "", fmt.Errorf("port %q is not a number from 1 to 65535", text)
		}
		ports = append(ports, int32(n))
	}
	answer, err := s.config.Runtime.PortForward(r.Context(), &runtimeapi.PortForwardRequest{PodSandboxId: sandbox.ID, Port: ports})
	return answer.GetUrl(), err
}

// pass hands the request on, and both directions of the connection once it is upgraded.
func (s *Server) pass(w http.ResponseWriter, r *http.Request, target string) {
	to, err := url.Parse(target)
	if err != nil || to.Host == "" {
		http.Error(w, fmt.Sprintf("the runtime answered with a streaming address that is none: %q", target), http.StatusInternalServerError)
		return
	}
	if to.Scheme == "" {
		to.Scheme = "http" // cri-dockerd's has none
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL, p.Out.Host = to, to.Host
			p.Out.Header.Del("Authorization")
		},
		FlushInterval: -1,
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, fmt.Sprintf("pass the stream to the runtime: %v", err), http.StatusBadGateway)
		},
		ErrorLog: s.http.ErrorLog,
	}
	proxy.ServeHTTP(w, r)
}

// run runs a command to its end and answers with what it printed.
func (s *Server) run(w http.ResponseWriter, r *http.Request) {
	v, ok := s.find(w, r)
	if !ok {
		return
	}
	c := running(w, v, r.PathValue("container"))
	if c == nil {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), 2*time.Minute)
	defer cancel()
	answer, err := s.config.Runtime.ExecSync(ctx, &runtimeapi.ExecSyncRequest{ContainerId: c.ID, Cmd: strings.Fields(r.FormValue("cmd"))})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if answer.GetExitCode() != 0 {
		w.WriteHeader(http.StatusInternalServerError)
	}
	_, _ = w.Write(append(answer.GetStdout(), answer.GetStderr()...))
}
