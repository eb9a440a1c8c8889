// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"bytes"
	"context"
	"fmt"
	"runtime/debug"

	"github.com/containernetworking/cni/pkg/types"

	"eastwest/internal/cni/plugin"
)

// main does a call and returns what it says on stdout, which is the caller's to write. One that panics fails, as a process of
// its own would have, and all else goes on.
func (s *server) main(ctx context.Context, name string, call *plugin.Call) (code int, said []byte) {
	var stdout bytes.Buffer
	call.Stdout = &stdout
	defer func() {
		if p := recover(); p != nil {
			s.Log.Error("plugin panicked", "plugin", name, "panic", p, "stack", string(debug.Stack()))
			stdout.Reset()
			code = call.Fail(name, types.NewError(types.ErrInternal, fmt.Sprint(p), ""))
		}
		said = stdout.Bytes()
	}()
	return s.Main(ctx, name, call), nil
}
