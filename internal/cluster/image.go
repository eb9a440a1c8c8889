// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"eastwest/internal/cluster/machine"
)

// LoadImage puts an OCI or docker archive into the image store of every node and returns the names of its images.
func (c *Clusters) LoadImage(ctx context.Context, cluster, file string) ([]string, error) {
	record, err := c.Record(ctx, cluster)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(file); err != nil {
		return nil, fmt.Errorf("load image: %w", err)
	}
	found := make([][]string, len(record.Nodes))
	loads := make([]func() error, 0, len(record.Nodes))
	for i, node := range record.Nodes {
		loads = append(loads, func() error {
			names, err := c.loadInto(ctx, record, node, file)
			if err != nil {
				return fmt.Errorf("load %s into node %s: %w", file, node.Name, err)
			}
			found[i] = names
			return nil
		})
	}
	err = parallel(loads...)
	return found[0], err
}

// loadInto shows the archive to the node below its state folder, since the node may not see the file where we do.
func (c *Clusters) loadInto(ctx context.Context, r *Record, node Node, file string) ([]string, error) {
	m := c.machine(r, node)
	dir, err := os.MkdirTemp(m.Lib(), "load-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	// The name is kept: what reads the archive says it in its errors.
	shown := filepath.Join(dir, filepath.Base(file))
	if err := linkOrCopy(file, shown); err != nil {
		return nil, err
	}
	if err := m.MountPrograms(); err != nil {
		return nil, err
	}
	var out, problems bytes.Buffer
	inside := filepath.Join(machine.StateMount, filepath.Base(dir), filepath.Base(file))
	command := c.config.Programs.Load(r, inside)
	if err := m.Run(ctx, r.nodeEnv(), machine.Streams{Out: &out, Err: &problems}, command...); err != nil {
		return nil, fmt.Errorf("%s: %s", command[0], strings.TrimSpace(problems.String()))
	}
	return strings.Fields(out.String()), nil
}

// linkOrCopy makes a file visible under another name; on another file system it is copied. A folder (an OCI layout) is
// copied.
func linkOrCopy(from, to string) error {
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return os.CopyFS(to, os.DirFS(from))
	}
	if real, err := filepath.EvalSymlinks(from); err == nil && os.Link(real, to) == nil {
		return nil
	}
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(target, source)
	if closeErr := target.Close(); err == nil {
		err = closeErr
	}
	return err
}
