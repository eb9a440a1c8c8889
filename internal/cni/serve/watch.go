// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"context"
	"net"
	"sync"
)

// watched ends when the caller does. Most calls wait for nothing but the kernel and never ask: for those nobody watches, which
// would cost more than some of them.
type watched struct {
	context.Context
	watch func()
}

// watching returns a context that ends with the caller at the other side of conn, or with done.
func watching(ctx context.Context, conn *net.UnixConn) (watchedContext context.Context, done func()) {
	ctx, cancel := context.WithCancel(ctx)
	return &watched{Context: ctx, watch: sync.OnceFunc(func() {
		go func() {
			_, _ = conn.Read(make([]byte, 1)) // there is nothing more to come
			cancel()
		}()
	})}, cancel
}

// Done is the context's; who asks waits for more than the kernel.
func (w *watched) Done() <-chan struct{} {
	w.watch()
	return w.Context.Done()
}
