// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"context"
	"fmt"
	"runtime/debug"

	"github.com/containernetworking/cni/pkg/types"

	"eastwest/internal/cni/plugin"
)

// main does a call. One that panics fails, as a process of its own would have, and all else goes on.
func (s *server) main(ctx context.Context, name string, call *plugin.Call) (code int) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		s.Log.Error("plugin panicked", "plugin", name, "panic", p, "stack", string(debug.Stack()))
		code = call.Fail(name, types.NewError(types.ErrInternal, fmt.Sprint(p), ""))
	}()
	return s.Main(ctx, name, call)
}
