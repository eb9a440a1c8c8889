// SPDX-License-Identifier: Apache-2.0

package tuning

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/vishvananda/netlink"

	"eastwest/internal/cni/plugin"
)

// backup is a file of dataDir: what an interface was before. The reference plugin reads and writes the same, but for the
// last two, which say whose it is.
type backup struct {
	attributes
	Network     string `json:"network,omitempty"`
	ContainerID string `json:"containerID,omitempty"`
	IfName      string `json:"ifName,omitempty"`
}

func (c *config) backupFile(args *skel.CmdArgs) string {
	return filepath.Join(c.DataDir, args.ContainerID+"_"+args.IfName+".json")
}

// backUp keeps what the interface is now. What is kept already stays: it is from before a first ADD that was killed.
func (c *config) backUp(args *skel.CmdArgs, l netlink.Link) error {
	if before, err := c.readBackup(args); before != nil && err == nil {
		return nil
	}
	b := backup{attributes: c.want.current(l), Network: c.Name, ContainerID: args.ContainerID, IfName: args.IfName}
	text, err := json.MarshalIndent(b, "", " ")
	if err != nil {
		return fmt.Errorf("keep attributes of %s: %w", args.IfName, err)
	}
	if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
		return fmt.Errorf("keep attributes of %s: %w", args.IfName, err)
	}
	file := c.backupFile(args)
	if err := os.WriteFile(file+".new", text, 0o600); err != nil {
		return fmt.Errorf("keep attributes of %s: %w", args.IfName, err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		return fmt.Errorf("keep attributes of %s: %w", args.IfName, err)
	}
	return nil
}

// readBackup returns nil if nothing, or nothing readable, is kept.
func (c *config) readBackup(args *skel.CmdArgs) (*attributes, error) {
	text, err := os.ReadFile(c.backupFile(args))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read attributes that were kept: %w", err)
	}
	var b backup
	if err := json.Unmarshal(text, &b); err != nil {
		return nil, nil
	}
	return &b.attributes, nil
}

func (c *config) removeBackup(args *skel.CmdArgs) error {
	var failed error
	for _, file := range []string{c.backupFile(args), c.backupFile(args) + ".new"} {
		if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
			failed = errors.Join(failed, fmt.Errorf("remove attributes that were kept: %w", err))
		}
	}
	return failed
}

// sweepBackups removes files of owners that are not alive. Those of the reference plugin do not say whose they are, and
// are left alone.
func (c *config) sweepBackups(alive func(plugin.Owner) bool) error {
	entries, err := os.ReadDir(c.DataDir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list attributes that were kept: %w", err)
	}
	for _, e := range entries {
		file := filepath.Join(c.DataDir, e.Name())
		text, err := os.ReadFile(file)
		var b backup
		if err != nil || !strings.HasSuffix(e.Name(), ".json") || json.Unmarshal(text, &b) != nil || b.ContainerID == "" {
			continue
		}
		if alive(plugin.Owner{Network: b.Network, ContainerID: b.ContainerID, IfName: b.IfName}) {
			continue
		}
		if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove attributes that were kept: %w", err)
		}
	}
	return nil
}
