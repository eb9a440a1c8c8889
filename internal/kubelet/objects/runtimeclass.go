// SPDX-License-Identifier: Apache-2.0

package objects

import (
	"context"
	"fmt"
	"sync"
	"time"

	nodev1 "k8s.io/api/node/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"eastwest/internal/client"
)

const readTimeout = 5 * time.Second

// RuntimeClasses knows which handler of the container runtime a class stands for. Safe for concurrent use.
type RuntimeClasses struct {
	client *client.Client
	mu     sync.Mutex
	known  map[string]string
}

// NewRuntimeClasses makes one that asks the API when it is asked.
func NewRuntimeClasses(c *client.Client) *RuntimeClasses {
	return &RuntimeClasses{client: c, known: map[string]string{}}
}

// Handler returns the handler of a class; the class without a name has the runtime's default. While the API server is away, classes are what they
// were: their handlers never change.
func (r *RuntimeClasses) Handler(ctx context.Context, name *string) (string, error) {
	if name == nil || *name == "" {
		return "", nil
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	class := &nodev1.RuntimeClass{}
	err := r.client.Node().Get().Resource("runtimeclasses").Name(*name).Do(ctx).Into(class)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil {
		r.known[*name] = class.Handler
		return class.Handler, nil
	}
	if handler, known := r.known[*name]; known && !apierrors.IsNotFound(err) {
		return handler, nil
	}
	return "", fmt.Errorf("failed to get sandbox runtime: %w", err)
}
