// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
)

// grpcCheck speaks the gRPC health checking protocol.
func grpcCheck(ctx context.Context, address string, service *string) (err error) {
	conn, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithUserAgent("kube-probe/1.36"))
	if err != nil {
		return fmt.Errorf("prepare a connection to %s: %w", address, err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	request := &healthv1.HealthCheckRequest{}
	if service != nil {
		request.Service = *service
	}
	answer, err := healthv1.NewHealthClient(conn).Check(ctx, request, grpc.WaitForReady(true))
	if err != nil {
		return fmt.Errorf("ask the health service at %s: %w", address, err)
	}
	if answer.GetStatus() != healthv1.HealthCheckResponse_SERVING {
		return fmt.Errorf("service unhealthy (responded with %q)", answer.GetStatus().String())
	}
	return nil
}
