// SPDX-License-Identifier: Apache-2.0

package debimage

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

// layer writes one image layer. Paths of both worlds, /lib and /usr/lib, end up under /usr.
type layer struct {
	out  *tar.Writer
	seen map[string]bool
}

func newLayer(w io.Writer) *layer {
	return &layer{out: tar.NewWriter(w), seen: map[string]bool{}}
}

func (l *layer) close() error { return l.out.Close() }

// addPackage copies a package's files for which keep says so.
func (l *layer) addPackage(ctx context.Context, deb string, keep func(string) bool) error {
	content, err := output(ctx, "", "dpkg-deb", "--fsys-tarfile", deb)
	if err != nil {
		return fmt.Errorf("read package %s: %w", path.Base(deb), err)
	}
	in := tar.NewReader(bytes.NewReader(content))
	for {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read package %s: %w", path.Base(deb), err)
		}
		where := merged(header.Name)
		if where == "" || header.Typeflag != tar.TypeDir && !keep(where) {
			continue
		}
		if header.Typeflag == tar.TypeDir && (!keep(where) || l.seen[where]) {
			continue
		}
		header.Name = where
		if header.Typeflag == tar.TypeLink {
			header.Linkname = merged(header.Linkname)
		}
		if err := l.add(header, in); err != nil {
			return fmt.Errorf("copy %s of package %s: %w", where, path.Base(deb), err)
		}
	}
}

// merged returns the path without leading slash, with /bin, /sbin, /lib* moved to /usr; empty for the root itself.
func merged(name string) string {
	clean := strings.TrimPrefix(path.Clean("/"+name), "/")
	top, _, _ := strings.Cut(clean, "/")
	switch top {
	case "bin", "sbin", "lib", "lib64":
		return "usr/" + clean
	}
	return clean
}

func (l *layer) add(header *tar.Header, content io.Reader) error {
	if l.seen[header.Name] {
		return errors.New("the file is there twice")
	}
	l.seen[header.Name] = true
	if err := l.parents(header.Name); err != nil {
		return err
	}
	if header.Typeflag == tar.TypeDir {
		header.Name += "/"
	}
	header.Format, header.Uname, header.Gname = tar.FormatPAX, "", ""
	if err := l.out.WriteHeader(header); err != nil {
		return err
	}
	_, err := io.Copy(l.out, content)
	return err
}

func (l *layer) parents(name string) error {
	dir := path.Dir(name)
	if dir == "." || l.seen[dir] {
		return nil
	}
	return l.add(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755}, strings.NewReader(""))
}

// addFiles adds the recipe's own files and the links of a merged /usr. A file takes the place of no other.
func (l *layer) addFiles(files []file) error {
	for _, top := range []string{"bin", "sbin", "lib", "lib64"} {
		if err := errors.Join(l.parents("usr/"+top+"/x"), l.addFile(file{name: top, target: "usr/" + top})); err != nil {
			return err
		}
	}
	for _, f := range files {
		if err := l.addFile(f); err != nil {
			return fmt.Errorf("add %s: %w", f.name, err)
		}
	}
	return nil
}

func (l *layer) addFile(f file) error {
	header := &tar.Header{Name: strings.TrimSuffix(f.name, "/"), Mode: f.mode, Size: int64(len(f.text))}
	switch {
	case f.target != "":
		header.Typeflag, header.Linkname, header.Mode = tar.TypeSymlink, f.target, 0o777
	case f.same != "":
		header.Typeflag, header.Linkname, header.Mode = tar.TypeLink, f.same, 0o755
	case strings.HasSuffix(f.name, "/"):
		header.Typeflag = tar.TypeDir
	default:
		header.Typeflag = tar.TypeReg
	}
	if header.Mode == 0 {
		header.Mode = 0o644
		if header.Typeflag == tar.TypeDir {
			header.Mode = 0o755
		}
	}
	if header.Typeflag == tar.TypeDir && l.seen[header.Name] {
		return nil
	}
	return l.add(header, strings.NewReader(f.text))
}
