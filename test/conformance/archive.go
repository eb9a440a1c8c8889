// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"
)

// writeArchive writes the images as `docker save` would: every root folder is one layer, shared by the images that have it.
func writeArchive(archive, roots string, images []image) error {
	out, err := os.Create(archive + ".part")
	if err != nil {
		return fmt.Errorf("create archive: %w", err)
	}
	w := &archiveWriter{out: tar.NewWriter(out), roots: roots, layers: map[string]string{}}
	for _, i := range images {
		if err := w.add(i); err != nil {
			return errors.Join(fmt.Errorf("write image %s: %w", i.names[0], err), out.Close(), os.Remove(out.Name()))
		}
	}
	if err := errors.Join(w.addJSON("manifest.json", w.manifest), w.out.Close(), out.Close()); err != nil {
		return fmt.Errorf("write archive: %w", err)
	}
	return os.Rename(out.Name(), archive)
}

// manifestEntry names one image's parts (docker's archive format, version 1.2).
type manifestEntry struct {
	Config   string
	RepoTags []string
	Layers   []string
}

type archiveWriter struct {
	out      *tar.Writer
	roots    string
	layers   map[string]string // digest by root folder
	manifest []manifestEntry
}

func (w *archiveWriter) add(i image) error {
	digest, ok := w.layers[i.root]
	if !ok {
		var err error
		if digest, err = w.addLayer(i.root); err != nil {
			return err
		}
		w.layers[i.root] = digest
	}
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": map[string]any{"Entrypoint": i.entrypoint, "Cmd": i.command, "User": i.user, "WorkingDir": "/",
			"Env": []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + digest}},
	})
	if err != nil {
		return err
	}
	sum := sha256.Sum256(config)
	name := hex.EncodeToString(sum[:]) + ".json"
	w.manifest = append(w.manifest, manifestEntry{Config: name, RepoTags: i.names, Layers: []string{digest + ".tar"}})
	return w.addBytes(name, config)
}

// addLayer writes a root folder as a layer, through a file: its digest, which is its name, is known at the end.
func (w *archiveWriter) addLayer(root string) (string, error) {
	file, err := os.CreateTemp(w.roots, "layer-")
	if err != nil {
		return "", err
	}
	defer os.Remove(file.Name())
	defer file.Close()
	hash := sha256.New()
	if err := writeLayer(io.MultiWriter(file, hash), filepath.Join(w.roots, root)); err != nil {
		return "", err
	}
	size, err := file.Seek(0, io.SeekCurrent)
	if err != nil {
		return "", err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	digest := hex.EncodeToString(hash.Sum(nil))
	if err := w.out.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: digest + ".tar", Mode: 0o644, Size: size}); err != nil {
		return "", err
	}
	_, err = io.Copy(w.out, file)
	return digest, err
}

func (w *archiveWriter) addJSON(name string, value any) error {
	content, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return w.addBytes(name, content)
}

func (w *archiveWriter) addBytes(name string, content []byte) error {
	if err := w.out.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
		return err
	}
	_, err := w.out.Write(content)
	return err
}

// writeLayer writes a folder in the order of names, owned by root and without times, so that the same folder is the same
// layer.
func writeLayer(out io.Writer, root string) error {
	w := tar.NewWriter(out)
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		return addEntry(w, path, name, entry)
	})
	return errors.Join(err, w.Close())
}

func addEntry(w *tar.Writer, path, name string, entry fs.DirEntry) error {
	info, err := entry.Info()
	if err != nil {
		return err
	}
	target := ""
	if info.Mode()&fs.ModeSymlink != 0 {
		if target, err = os.Readlink(path); err != nil {
			return err
		}
	}
	header, err := tar.FileInfoHeader(info, target)
	if err != nil {
		return err
	}
	header.Name, header.ModTime = name, time.Unix(0, 0)
	header.Uid, header.Gid, header.Uname, header.Gname = 0, 0, "", ""
	if info.IsDir() {
		header.Name += "/"
	}
	if err := w.WriteHeader(header); err != nil || !info.Mode().IsRegular() {
		return err
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = io.Copy(w, file)
	return err
}
