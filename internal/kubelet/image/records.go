// SPDX-License-Identifier: Apache-2.0

package image

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Secret is where credentials come from, and a fingerprint of them.
type Secret struct {
	UID       string `json:"uid"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Hash      string `json:"credentialHash"`
}

// access is who may use an image: everybody, where it took no credentials to pull it, or who has one of these secrets.
type access struct {
	Everybody bool     `json:"nodePodsAccessible,omitempty"`
	Secrets   []Secret `json:"kubernetesSecrets,omitempty"`
}

// mostSecrets bounds what is remembered of one image; the oldest are forgotten.
const mostSecrets = 100

// has says whether the same credentials are known, whatever secret they were in, or the same secret, which has others now.
func (a access) has(s Secret) (same, renewed bool) {
	for _, known := range a.Secrets {
		same = same || known.Hash == s.Hash
		renewed = renewed || known.UID == s.UID && known.Namespace == s.Namespace && known.Name == s.Name
	}
	return same, renewed
}

func (a access) with(s *Secret) access {
	if a.Everybody || s == nil {
		return access{Everybody: true}
	}
	kept := []Secret{}
	for _, known := range a.Secrets {
		if known.UID != s.UID || known.Namespace != s.Namespace || known.Name != s.Name {
			kept = append(kept, known)
		}
	}
	kept = append(kept, *s)
	return access{Secrets: kept[max(0, len(kept)-mostSecrets):]}
}

// record is what is known of the pulls of one image, by the name it was asked for by, without tag and digest.
type record struct {
	Image  string            `json:"imageRef"`
	Access map[string]access `json:"credentialMapping,omitempty"`
}

// records are files: one for each image that was pulled, and one for each name that is being pulled.
type records struct{ dir string }

func fileOf(name string) string {
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:]) + ".json"
}

func (r records) pulled(id string) string     { return filepath.Join(r.dir, "pulled", fileOf(id)) }
func (r records) pulling(image string) string { return filepath.Join(r.dir, "pulling", fileOf(image)) }

// read returns a record; fs.ErrNotExist says that the image was never pulled. One that cannot be read is one of a pull by nobody known.
func (r records) read(id string) (record, error) {
	out := record{Image: id}
	if r.dir == "" {
		return out, fs.ErrNotExist
	}
	data, err := os.ReadFile(r.pulled(id))
	if err != nil {
		return out, fmt.Errorf("read who pulled image %s: %w", id, err)
	}
	var found record
	if json.Unmarshal(data, &found) != nil || found.Image != id {
		return out, nil
	}
	return found, nil
}

// add lets somebody use an image, or everybody when secret is nil.
func (r records) add(id, name string, secret *Secret) error {
	found, err := r.read(id)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if found.Access == nil {
		found.Access = map[string]access{}
	}
	found.Access[name] = found.Access[name].with(secret)
	return r.write(r.pulled(id), found)
}

// note says of an image that it was pulled, and not by whom.
func (r records) note(id string) error { return r.write(r.pulled(id), record{Image: id}) }

func (r records) begin(image string) error { return r.write(r.pulling(image), record{Image: image}) }

func (r records) begun(image string) (bool, error) {
	if r.dir == "" {
		return false, nil
	}
	_, err := os.Stat(r.pulling(image))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

func (r records) end(image string) error {
	if r.dir == "" {
		return nil
	}
	if err := os.Remove(r.pulling(image)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("note the end of the pull of %s: %w", image, err)
	}
	return nil
}

// write replaces a file whole or not at all.
func (r records) write(path string, what record) error {
	if r.dir == "" {
		return nil
	}
	data, err := json.Marshal(what)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(path), 0o700)
	}
	if err == nil {
		if err = os.WriteFile(path+".part", data, 0o600); err == nil {
			err = os.Rename(path+".part", path)
		}
		if err != nil {
			_ = os.Remove(path + ".part")
		}
	}
	if err != nil {
		return fmt.Errorf("note the pull of image %s: %w", what.Image, err)
	}
	return nil
}

// prune forgets the images that are not on the node.
func (r records) prune(present map[string]bool) error {
	files, err := filepath.Glob(filepath.Join(r.dir, "pulled", "*.json"))
	for _, file := range files {
		var found record
		data, readErr := os.ReadFile(file)
		if readErr == nil && json.Unmarshal(data, &found) == nil && present[found.Image] {
			continue
		}
		err = errors.Join(err, os.Remove(file))
	}
	return err
}
