// SPDX-License-Identifier: Apache-2.0

// Package transfer puts images into the stores of other container runtimes, each by the program that comes with it: ctr for
// containerd, docker for Docker.
//
//	archive or program ─▶ archive as `docker save` writes it ─▶ ctr images import | docker load
package transfer

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"eastwest/internal/cri/images"
	"eastwest/internal/cri/pause"
)

// Store is the image store of a runtime.
type Store struct {
	name    string
	command []string // takes an archive as its last argument
}

// Open waits until the runtime at endpoint (unix:///path) answers, and finds out how images get into its store.
func Open(ctx context.Context, endpoint string) (*Store, error) {
	conn, err := grpc.NewClient(endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, fmt.Errorf("connect to the container runtime at %s: %w", endpoint, err)
	}
	defer conn.Close()
	answer, err := runtimeapi.NewRuntimeServiceClient(conn).Version(ctx, &runtimeapi.VersionRequest{}, grpc.WaitForReady(true))
	if err != nil {
		return nil, fmt.Errorf("ask the container runtime at %s for its name: %w", endpoint, err)
	}
	return storeOf(answer.GetRuntimeName(), endpoint)
}

func storeOf(runtime, endpoint string) (*Store, error) {
	switch runtime {
	case "containerd":
		// The namespace is the one that containerd's CRI plugin looks into.
		socket := strings.TrimPrefix(endpoint, "unix://")
		return &Store{name: runtime, command: []string{"ctr", "--address", socket, "--namespace", "k8s.io", "images", "import"}}, nil
	case "docker":
		return &Store{name: runtime, command: []string{"docker", "load", "--quiet", "--input"}}, nil
	}
	return nil, fmt.Errorf("load images into the container runtime %q at %s: only containerd and docker are known; use its own tool", runtime, endpoint)
}

// Load puts the images of an archive, in any form that images.Store.Load takes, into the store and returns their names.
func (s *Store) Load(ctx context.Context, archive string) (names []string, err error) {
	return names, s.put(ctx, func(target string) (err error) {
		names, err = images.Rewrite(ctx, archive, target)
		return err
	})
}

// AddBinary puts an image that is nothing but a static program into the store.
func (s *Store) AddBinary(ctx context.Context, name, program string) error {
	return s.put(ctx, func(target string) error {
		_, err := images.WriteBinary(name, program, target, v1.Config{})
		return err
	})
}

// AddPause puts the image into the store that sandboxes are started from: nothing but a process that does nothing.
func (s *Store) AddPause(ctx context.Context, name, arch string) error {
	return s.put(ctx, func(target string) error {
		program := filepath.Join(filepath.Dir(target), "pause")
		if err := pause.Write(program, arch); err != nil {
			return err
		}
		_, err := images.WriteBinary(name, program, target, v1.Config{})
		return err
	})
}

// put has write make an archive and gives it to the runtime.
func (s *Store) put(ctx context.Context, write func(target string) error) error {
	dir, err := os.MkdirTemp("", "eastwest-image-")
	if err != nil {
		return fmt.Errorf("make room for an image archive: %w", err)
	}
	defer os.RemoveAll(dir)
	target := filepath.Join(dir, "image.tar")
	if err := write(target); err != nil {
		return err
	}
	command := exec.CommandContext(ctx, s.command[0], append(s.command[1:len(s.command):len(s.command)], target)...)
	var problems bytes.Buffer
	command.Stderr = &problems
	if err := command.Run(); err != nil {
		return fmt.Errorf("load an image into %s by %s: %w: %s", s.name, s.command[0], err, bytes.TrimSpace(problems.Bytes()))
	}
	return nil
}
