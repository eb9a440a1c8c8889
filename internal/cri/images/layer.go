// SPDX-License-Identifier: Apache-2.0

package images

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// layerInfo is what a finished layer folder says about itself in its file "info".
type layerInfo struct {
	Size   int64 `json:"size"`
	Inodes int64 `json:"inodes"`
}

// unpackLayer makes the folder of one layer unless it is there, and returns the layer's size in bytes. The folder
// appears under its name only when it is whole and its content has the digest that the image promises.
func (s *Store) unpackLayer(ctx context.Context, layer v1.Layer) (int64, error) {
	diffID, err := layer.DiffID()
	if err != nil {
		return 0, fmt.Errorf("read layer digest: %w", err)
	}
	if info, err := s.layerInfo(diffID.Hex); err == nil {
		return info.Size, nil
	}
	content, err := layer.Uncompressed()
	if err != nil {
		return 0, fmt.Errorf("read layer %s: %w", diffID, err)
	}
	defer content.Close()
	return s.addLayer(diffID.Hex, func(dir string) (layerInfo, error) {
		sum := sha256.New()
		stream := io.TeeReader(&contextReader{ctx: ctx, r: content}, sum)
		info, err := unpack(bufio.NewReaderSize(stream, 1<<20), dir)
		if err != nil {
			return info, fmt.Errorf("unpack layer %s: %w", diffID, err)
		}
		if got := hex.EncodeToString(sum.Sum(nil)); got != diffID.Hex {
			return info, fmt.Errorf("unpack layer %s: content has digest sha256:%s; the image is damaged", diffID, got)
		}
		return info, nil
	})
}

// addLayer lets fill make the content in a temporary folder, and gives it its name when that worked.
func (s *Store) addLayer(id string, fill func(dir string) (layerInfo, error)) (int64, error) {
	tmp, err := os.MkdirTemp(s.layersDir(), "tmp-")
	if err != nil {
		return 0, fmt.Errorf("make folder for layer %s: %w", id, err)
	}
	defer os.RemoveAll(tmp)
	diff := filepath.Join(tmp, "diff")
	if err := os.Mkdir(diff, 0o755); err != nil {
		return 0, fmt.Errorf("make folder for layer %s: %w", id, err)
	}
	info, err := fill(diff)
	if err != nil {
		return 0, err
	}
	raw, err := json.Marshal(info)
	if err != nil {
		return 0, fmt.Errorf("encode layer information: %w", err)
	}
	if err := os.WriteFile(filepath.Join(tmp, "info"), raw, 0o600); err != nil {
		return 0, fmt.Errorf("write layer %s: %w", id, err)
	}
	err = os.Rename(tmp, filepath.Join(s.layersDir(), id))
	if err != nil && !errors.Is(err, fs.ErrExist) && !isNotEmpty(err) {
		return 0, fmt.Errorf("store layer %s: %w", id, err)
	}
	return info.Size, nil
}

func (s *Store) layerInfo(id string) (layerInfo, error) {
	var info layerInfo
	raw, err := os.ReadFile(filepath.Join(s.layersDir(), id, "info"))
	if err != nil {
		return info, err
	}
	return info, json.Unmarshal(raw, &info)
}

// contextReader ends a copy when its context ends.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

// Read returns the context's error once it has ended.
func (c *contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
