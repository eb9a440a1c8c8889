// SPDX-License-Identifier: Apache-2.0

package transfer

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"eastwest/internal/cri/images"
)

// late is a runtime that listens before it can answer.
type late struct {
	runtimeapi.UnimplementedRuntimeServiceServer
	name  string
	asked atomic.Int32
}

func (l *late) Version(context.Context, *runtimeapi.VersionRequest) (*runtimeapi.VersionResponse, error) {
	if l.asked.Add(1) < 3 {
		return nil, errors.New("server is not initialized yet")
	}
	return &runtimeapi.VersionResponse{RuntimeName: l.name}, nil
}

func serve(t *testing.T, name string) (endpoint string) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "cri.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	runtimeapi.RegisterRuntimeServiceServer(server, &late{name: name})
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return "unix://" + socket
}

// A program in the place of ctr gets an archive that holds the image.
func TestImageReachesTheRuntimesOwnProgram(t *testing.T) {
	dir := t.TempDir()
	ctr := filepath.Join(dir, "ctr")
	if err := os.WriteFile(ctr, []byte("#!/bin/sh\necho \"$@\" >"+dir+"/words\nfor last; do :; done\ncp \"$last\" "+dir+"/archive\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	endpoint := serve(t, "containerd")
	store, err := Open(t.Context(), endpoint)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.AddPause(t.Context(), "example.com/pause:1", "amd64"); err != nil {
		t.Fatal(err)
	}
	words, err := os.ReadFile(filepath.Join(dir, "words"))
	if err != nil || !strings.HasPrefix(string(words), "--address "+strings.TrimPrefix(endpoint, "unix://")+" --namespace k8s.io images import ") {
		t.Errorf("ctr was called with %q: %v", words, err)
	}
	names, err := images.Rewrite(t.Context(), filepath.Join(dir, "archive"), filepath.Join(dir, "again"))
	if err != nil || len(names) != 1 || names[0] != "example.com/pause:1" {
		t.Errorf("the archive holds %q: %v", names, err)
	}
	if err := os.WriteFile(ctr, []byte("#!/bin/sh\necho no space left >&2\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Load(t.Context(), filepath.Join(dir, "archive")); err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("a program that fails: %v", err)
	}
}

func TestRuntimeThatNobodyKnowsOrThatIsNotThere(t *testing.T) {
	if _, err := Open(t.Context(), serve(t, "cri-o")); err == nil || !strings.Contains(err.Error(), "cri-o") {
		t.Errorf("cri-o: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := Open(ctx, "unix://"+filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a socket that is not there answered")
	}
}
