// SPDX-License-Identifier: Apache-2.0

// Package criclient speaks CRI v1 to a container runtime over its unix socket, and turns the answers into podstate values.
// Every call takes a context of its own, so that one hanging call never holds another back.
package criclient

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// maxMessage bounds one answer: a node with hundreds of containers stays far below.
const maxMessage = 16 << 20

// Client is a connection to a runtime and to its image service. Safe for concurrent use.
type Client struct {
	Runtime runtimeapi.RuntimeServiceClient
	Images  runtimeapi.ImageServiceClient
	// IPv6First puts a pod's IPv6 address first, on a node whose own first address is one. Runtimes put IPv4 first.
	IPv6First bool
	conns     []*grpc.ClientConn
	name      atomic.Pointer[string]
}

// RuntimeName is what the runtime calls itself, the scheme of container ids in pods' statuses; "unknown" before the first
// Observe.
func (c *Client) RuntimeName() string {
	if name := c.name.Load(); name != nil {
		return *name
	}
	return "unknown"
}

// identify asks the runtime for its name, once.
func (c *Client) identify(ctx context.Context) error {
	if c.name.Load() != nil {
		return nil
	}
	version, err := c.Runtime.Version(ctx, &runtimeapi.VersionRequest{})
	if err != nil {
		return fmt.Errorf("ask the container runtime for its name: %w", err)
	}
	name := version.GetRuntimeName()
	c.name.Store(&name)
	return nil
}

// Dial prepares connections to the endpoints (unix:///path). It does not wait for the runtime: calls fail until it answers, and
// reconnect by themselves. An empty image endpoint means the runtime's own. intercept, when not nil, sees every call.
func Dial(runtimeEndpoint, imageEndpoint string, intercept grpc.UnaryClientInterceptor) (*Client, error) {
	conn, err := dial(runtimeEndpoint, intercept)
	if err != nil {
		return nil, err
	}
	c := &Client{Runtime: runtimeapi.NewRuntimeServiceClient(conn), conns: []*grpc.ClientConn{conn}}
	if imageEndpoint != "" && imageEndpoint != runtimeEndpoint {
		if conn, err = dial(imageEndpoint, intercept); err != nil {
			return nil, errors.Join(err, c.Close())
		}
		c.conns = append(c.conns, conn)
	}
	c.Images = runtimeapi.NewImageServiceClient(conn)
	return c, nil
}

func dial(endpoint string, intercept grpc.UnaryClientInterceptor) (*grpc.ClientConn, error) {
	retry := backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: retry, MinConnectTimeout: 3 * time.Second}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage))}
	if intercept != nil {
		options = append(options, grpc.WithUnaryInterceptor(intercept))
	}
	conn, err := grpc.NewClient(endpoint, options...)
	if err != nil {
		return nil, fmt.Errorf("prepare a connection to the container runtime at %q: %w", endpoint, err)
	}
	return conn, nil
}

// Close ends the connections. Calls in flight fail.
func (c *Client) Close() error {
	var errs []error
	for _, conn := range c.conns {
		errs = append(errs, conn.Close())
	}
	return errors.Join(errs...)
}
