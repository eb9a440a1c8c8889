// SPDX-License-Identifier: Apache-2.0

package image

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
)

// Verification says whose images a pod may use that are on the node already, as a kubelet's imagePullCredentialsVerificationPolicy.
type Verification string

// The policies. Preloaded images are those that no kubelet of this node pulled.
const (
	NeverVerify                  Verification = "NeverVerify"
	NeverVerifyPreloadedImages   Verification = "NeverVerifyPreloadedImages"
	NeverVerifyAllowlistedImages Verification = "NeverVerifyAllowlistedImages"
	AlwaysVerify                 Verification = "AlwaysVerify"
)

// Access says which images need a look at the pod's credentials, and where is written down who pulled what.
type Access struct {
	Policy    Verification // NeverVerifyPreloadedImages when empty
	Allowlist []string     // for NeverVerifyAllowlistedImages: images without tag and digest, or PREFIX/*
	Dir       string       // of the records; nothing is remembered when empty
}

// Check refuses what makes no sense.
func (a Access) Check() error {
	switch a.Policy {
	case "", NeverVerify, NeverVerifyPreloadedImages, AlwaysVerify:
		if len(a.Allowlist) > 0 {
			return fmt.Errorf("a list of images that are not verified goes with %s", NeverVerifyAllowlistedImages)
		}
	case NeverVerifyAllowlistedImages:
		for _, pattern := range a.Allowlist {
			if name := strings.TrimSuffix(pattern, "/*"); name == "" || strings.ContainsAny(name, "*@ ") || name == pattern && untagged(name) != name {
				return fmt.Errorf("image %q: expected a name without tag and digest, or one that ends in /*", pattern)
			}
		}
	default:
		return fmt.Errorf("policy %q: expected %s, %s, %s or %s", a.Policy, NeverVerify, NeverVerifyPreloadedImages, NeverVerifyAllowlistedImages, AlwaysVerify)
	}
	return nil
}

// verifies says whether a pod has to have credentials for an image that is there.
func (a Access) verifies(image string, pulled bool) bool {
	switch a.Policy {
	case NeverVerify:
		return false
	case AlwaysVerify:
		return true
	case NeverVerifyAllowlistedImages:
		name := untagged(image)
		for _, pattern := range a.Allowlist {
			if prefix, all := strings.CutSuffix(pattern, "*"); name == pattern || all && strings.HasPrefix(name, prefix) {
				return false
			}
		}
		return true
	}
	return pulled
}

// untagged is an image as it is written, without tag and digest.
func untagged(image string) string {
	image, _, _ = strings.Cut(image, "@")
	if slash, colon := strings.LastIndexByte(image, '/'), strings.LastIndexByte(image, ':'); colon > slash {
		image = image[:colon]
	}
	return image
}

// gate keeps pods from images that others pulled with credentials which these pods do not have.
type gate struct {
	access  Access
	records records
	mu      sync.Mutex
	pulling map[string]int // by image: pulls under way in this process
}

func newGate(access Access) *gate {
	return &gate{access: access, records: records{access.Dir}, pulling: map[string]int{}}
}

// permits says whether a pod with these credentials may use an image that is there under this id.
func (g *gate) permits(image, id string, with []Credential) (bool, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	record, err := g.records.read(id)
	pulled := err == nil
	if errors.Is(err, fs.ErrNotExist) {
		pulled, err = g.wasBeingPulled(image, id)
	}
	if err != nil {
		return false, err
	}
	if !g.access.verifies(image, pulled) {
		return true, nil
	}
	known, ok := record.Access[untagged(image)]
	if !ok {
		return false, nil
	}
	if known.Everybody {
		return true, nil
	}
	for _, c := range with {
		if same, renewed := known.has(c.Secret); same {
			return true, nil
		} else if renewed {
			return true, g.records.add(id, untagged(image), &c.Secret)
		}
	}
	return false, nil
}

// wasBeingPulled says whether a pull was begun that never came to its end: here, or in a kubelet that was killed. What that one pulled is noted as
// pulled by nobody known. The caller holds the lock.
func (g *gate) wasBeingPulled(image, id string) (bool, error) {
	if g.pulling[image] > 0 {
		return true, nil
	}
	begun, err := g.records.begun(image)
	if err != nil || !begun {
		return false, err
	}
	if err := g.records.note(id); err != nil {
		return true, err
	}
	return true, g.records.end(image)
}

// begin notes that an image is being pulled, before anything of it can be there.
func (g *gate) begin(image string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.records.begin(image); err != nil {
		return err
	}
	g.pulling[image]++
	return nil
}

// end notes what came of a pull: the image's id, and the credentials that it took, if any. An empty id is a failure.
func (g *gate) end(image, id string, with *Credential) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.pulling[image]--; g.pulling[image] <= 0 {
		delete(g.pulling, image)
	}
	if id != "" {
		var secret *Secret
		if with != nil {
			secret = &with.Secret
		}
		if err := g.records.add(id, untagged(image), secret); err != nil {
			return err // the pull stays noted, which keeps those out who have no credentials
		}
	}
	if g.pulling[image] > 0 {
		return nil
	}
	return g.records.end(image)
}
