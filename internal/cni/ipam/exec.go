// SPDX-License-Identifier: Apache-2.0

package ipam

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/types/create"

	"eastwest/internal/cni/plugin"
)

// The specification's execution protocol for delegated plugins. It is written here because the reference library's
// package for it (invoke) brings an HTTP client and tracing into a program that must start in a millisecond or two.

// findInPath looks a plugin up in the folders of CNI_PATH. A name that is a path could run anything, so it is refused.
func findInPath(kind, path string) (string, error) {
	if kind == "" {
		return "", plugin.ConfigError("no IPAM plugin is named: \"ipam\" needs a \"type\"")
	}
	if strings.ContainsRune(kind, os.PathSeparator) {
		return "", plugin.ConfigError("invalid IPAM plugin name %q", kind)
	}
	folders := filepath.SplitList(path)
	for _, folder := range folders {
		full := filepath.Join(folder, kind)
		if info, err := os.Stat(full); folder != "" && err == nil && info.Mode().IsRegular() {
			return full, nil
		}
	}
	return "", plugin.ConfigError("failed to find IPAM plugin %q in path %v", kind, folders)
}

func execResult(ctx context.Context, path string, args *skel.CmdArgs) (types.Result, error) {
	out, err := run(ctx, path, "ADD", args)
	if err != nil {
		return nil, err
	}
	result, err := create.CreateFromBytes(out)
	if err != nil {
		return nil, plugin.DecodeError("result of "+path, err)
	}
	return result, nil
}

// busyAttempts: a plugin that is being installed can be busy for a moment.
const busyAttempts = 5

// run runs a plugin and returns what it printed; a failed plugin's own error comes back as it is.
func run(ctx context.Context, path, verb string, args *skel.CmdArgs) ([]byte, error) {
	for n := 1; ; n++ {
		out, err := runOnce(ctx, path, verb, args)
		if !errors.Is(err, syscall.ETXTBSY) || n == busyAttempts {
			return out, err
		}
		time.Sleep(time.Second)
	}
}

func runOnce(ctx context.Context, path, verb string, args *skel.CmdArgs) ([]byte, error) {
	call := plugin.Of(ctx)
	var stdout, stderr bytes.Buffer
	c := exec.CommandContext(ctx, path)
	c.Stdin, c.Stdout, c.Stderr = bytes.NewReader(args.StdinData), &stdout, &stderr
	c.Env = slices.Concat(call.Environ, []string{ // the last value of a name counts
		"CNI_COMMAND=" + verb,
		"CNI_CONTAINERID=" + args.ContainerID,
		"CNI_NETNS=" + args.Netns,
		"CNI_IFNAME=" + args.IfName,
		"CNI_ARGS=" + args.Args,
		"CNI_PATH=" + args.Path,
	})
	err := c.Run()
	if err == nil {
		_, _ = call.Stderr.Write(stderr.Bytes()) // passed on, as a plugin's log is
		return stdout.Bytes(), nil
	}
	var failed types.Error
	if stdout.Len() > 0 && json.Unmarshal(stdout.Bytes(), &failed) == nil && failed.Msg != "" {
		return nil, &failed
	}
	if stdout.Len() == 0 && stderr.Len() > 0 {
		return nil, fmt.Errorf("run IPAM plugin %s: %w: %s", path, err, bytes.TrimSpace(stderr.Bytes()))
	}
	return nil, fmt.Errorf("run IPAM plugin %s: %w", path, err)
}
