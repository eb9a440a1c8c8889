// SPDX-License-Identifier: Apache-2.0

// Package probe asks containers whether they have started, are ready and are alive, by running commands in them or by HTTP, TCP and gRPC, and
// remembers the answers by container.
//
//	running containers → one goroutine a probe → thresholds → Started, Ready, Failed → the pod's worker is woken
package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// maxOutput bounds what of an answer is kept for events.
const maxOutput = 10 << 10

// Exec runs a command in a container and returns its output and exit code. An error means that it could not be run, or not to its end.
type Exec func(ctx context.Context, containerID string, command []string, timeout time.Duration) (output []byte, code int32, err error)

// Target is the container that is asked.
type Target struct {
	ContainerID string
	Spec        *corev1.Container
	IP          string // of the pod, or of the node for a host-network pod
	Exec        Exec
}

// Check asks once. It returns nil when the answer is good, else what was wrong.
func Check(ctx context.Context, t Target, h corev1.ProbeHandler, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	switch {
	case h.Exec != nil:
		return t.exec(ctx, h.Exec.Command, timeout)
	case h.HTTPGet != nil:
		request, err := HTTPRequest(ctx, t.Spec, h.HTTPGet, t.IP, "probe")
		if err != nil {
			return err
		}
		return httpCheck(request)
	case h.TCPSocket != nil:
		return t.tcp(ctx, h.TCPSocket)
	case h.GRPC != nil:
		return grpcCheck(ctx, net.JoinHostPort(t.IP, strconv.Itoa(int(h.GRPC.Port))), h.GRPC.Service)
	}
	return errors.New("missing probe handler")
}

func (t Target) exec(ctx context.Context, command []string, timeout time.Duration) error {
	output, code, err := t.Exec(ctx, t.ContainerID, command, timeout)
	if err != nil {
		return fmt.Errorf("command %q: %w", strings.Join(command, " "), err)
	}
	if code != 0 {
		return errors.New(string(output[:min(len(output), maxOutput)]))
	}
	return nil
}

func (t Target) tcp(ctx context.Context, action *corev1.TCPSocketAction) error {
	port, err := Port(action.Port, t.Spec)
	if err != nil {
		return err
	}
	host := action.Host
	if host == "" {
		host = t.IP
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return err
	}
	return conn.Close()
}

// Port resolves a number, or the name of one of the container's ports.
func Port(p intstr.IntOrString, c *corev1.Container) (int, error) {
	if p.Type == intstr.Int {
		return p.IntValue(), nil
	}
	for _, port := range c.Ports {
		if port.Name == p.StrVal {
			return int(port.ContainerPort), nil
		}
	}
	if n, err := strconv.Atoi(p.StrVal); err == nil {
		return n, nil
	}
	return 0, fmt.Errorf("container %s has no port named %q", c.Name, p.StrVal)
}

// HTTPRequest makes the request of an httpGet action; agent goes into the User-Agent, after "kube-".
func HTTPRequest(ctx context.Context, c *corev1.Container, action *corev1.HTTPGetAction, ip, agent string) (*http.Request, error) {
	port, err := Port(action.Port, c)
	if err != nil {
		return nil, err
	}
	host := action.Host
	if host == "" {
		host = ip
	}
	target, err := url.Parse(action.Path)
	if err != nil {
		target = &url.URL{Path: action.Path}
	}
	target.Scheme = strings.ToLower(string(action.Scheme))
	if target.Scheme == "" {
		target.Scheme = "http"
	}
	target.Host = net.JoinHostPort(host, strconv.Itoa(port))
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("make the request of the probe: %w", err)
	}
	request.Header.Set("User-Agent", "kube-"+agent+"/1.36")
	request.Header.Set("Accept", "*/*")
	for _, h := range action.HTTPHeaders {
		if strings.EqualFold(h.Name, "Host") {
			request.Host = h.Value
		} else {
			request.Header.Add(h.Name, h.Value)
		}
	}
	return request, nil
}

// Transport asks a pod once, without a proxy. Probes and hooks ask whether something answers, not who: certificates are not
// looked at, as Kubernetes documents it.
func Transport() *http.Transport {
	return &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true, DisableCompression: true}
}

func httpCheck(request *http.Request) (err error) {
	client := &http.Client{Transport: Transport(), CheckRedirect: func(next *http.Request, via []*http.Request) error {
		if next.URL.Hostname() != request.URL.Hostname() || len(via) >= 10 {
			return http.ErrUseLastResponse
		}
		return nil
	}}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	if _, err := io.Copy(io.Discard, io.LimitReader(response.Body, maxOutput)); err != nil {
		return err
	}
	if response.StatusCode < http.StatusOK || response.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("HTTP probe failed with statuscode: %d", response.StatusCode)
	}
	return nil
}
