// SPDX-License-Identifier: Apache-2.0

package images

import (
	"errors"
	"testing"
)

// Two images share a layer; each has one more of its own.
func TestLayersGoWithTheLastUser(t *testing.T) {
	r, s := newRegistry(t, ""), openStore(t)
	shared := layerTar(t, entry{name: "shared", content: "x"})
	r.push(t, testImage(t, shared, layerTar(t, entry{name: "a", content: "a"})), "a:1")
	r.push(t, testImage(t, shared, layerTar(t, entry{name: "b", content: "b"})), "b:1")
	pull := func(name string) Image {
		img, err := s.Pull(t.Context(), r.host()+"/"+name, nil)
		if err != nil {
			t.Fatal(err)
		}
		return img
	}
	a, b := pull("a:1"), pull("b:1")
	step := func(what string, err error, layers int) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
		expectLayers(t, s, layers)
	}
	step("pull two images", nil, 3)
	step("pin for two containers", errors.Join(s.Pin("one", a), s.Pin("two", a), s.Pin("three", b)), 3)
	step("remove the image under containers", s.Remove(a.ID), 3)
	if err := s.Pin("four", a); err != nil {
		t.Errorf("pin of layers that are still there: %v", err)
	}
	step("remove a container", s.Unpin("one"), 3)
	step("remove a container of the image that stays", s.Unpin("three"), 3)
	step("remove another container", s.Unpin("two"), 3)
	step("remove the last container", s.Unpin("four"), 2)
	step("remove it again", s.Unpin("four"), 2)
	if err := s.Pin("five", a); !errors.Is(err, ErrNotFound) {
		t.Errorf("pin of layers that are gone: %v", err)
	}
	step("remove the other image", s.Remove(r.host()+"/b:1"), 0)
	if got := pull("a:1"); got.ID != a.ID {
		t.Errorf("pulled again: %s, want %s", got.ID, a.ID)
	}
	expectLayers(t, s, 2)
}
