// SPDX-License-Identifier: Apache-2.0

package images

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// An archive for another runtime holds what the store would hold: loaded into ours it is the image that AddBinary makes.
func TestWrittenProgramIsTheStoresOwn(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "hello")
	if err := os.WriteFile(program, []byte("a program"), 0o755); err != nil {
		t.Fatal(err)
	}
	archive := filepath.Join(dir, "image.tar")
	name, err := WriteBinary("example.com/hello", program, archive, v1.Config{})
	if err != nil || name != "example.com/hello:latest" {
		t.Fatalf("wrote %q: %v", name, err)
	}
	again := filepath.Join(dir, "again.tar")
	if names, err := Rewrite(t.Context(), archive, again); err != nil || !slices.Equal(names, []string{name}) {
		t.Fatalf("rewrote %q: %v", names, err)
	}
	var ids []string
	for _, file := range []string{archive, again} {
		store, err := Open(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := store.Load(t.Context(), file); err != nil {
			t.Fatal(err)
		}
		image, err := store.Get(name)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, image.Layers[0])
		if !slices.Equal(image.Config.Entrypoint, []string{"/hello"}) {
			t.Errorf("%s runs %q", file, image.Config.Entrypoint)
		}
	}
	store, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := store.AddBinary(t.Context(), name, program, v1.Config{}); err != nil {
		t.Fatal(err)
	}
	image, err := store.Get(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		if id != image.Layers[0] {
			t.Errorf("layer %s, that of the store is %s", id, image.Layers[0])
		}
	}
	if _, err := Rewrite(t.Context(), program, again); err == nil {
		t.Error("a file that is no archive was rewritten")
	}
}
