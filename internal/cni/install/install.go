// SPDX-License-Identifier: Apache-2.0

// Package install puts the CNI program into a folder of plugins: the program once, and a name for each plugin.
package install

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Config says what to install where.
type Config struct {
	Program string   // path of the program to copy
	Name    string   // its name in Dir
	Dir     string   // folder of plugins, such as /opt/cni/bin; made if missing
	Plugins []string // names that the program answers to
}

// Install copies the program and makes a hard link for each plugin, or a symbolic link where the file system has no
// hard links. Every name is replaced at once, so that a runtime that calls a plugin meanwhile gets the old program or
// the new one.
func Install(c Config) error {
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return fmt.Errorf("make folder of plugins: %w", err)
	}
	program := filepath.Join(c.Dir, c.Name)
	if err := copyProgram(c.Program, program); err != nil {
		return fmt.Errorf("install %s: %w", program, err)
	}
	for _, name := range c.Plugins {
		if err := replaceName(program, filepath.Join(c.Dir, name)); err != nil {
			return fmt.Errorf("install plugin %s: %w", name, err)
		}
	}
	return nil
}

func copyProgram(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.CreateTemp(filepath.Dir(to), "."+filepath.Base(to)+".*")
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	err = errors.Join(err, out.Chmod(0o755), out.Close())
	if err == nil {
		err = os.Rename(out.Name(), to)
	}
	if err != nil {
		_ = os.Remove(out.Name())
	}
	return err
}

// replaceName links to a temporary name first, because a link cannot replace a name and a rename can. Renaming one
// link of a file onto another link of the same file does nothing and leaves the temporary name, so it is removed.
func replaceName(program, name string) error {
	temporary := filepath.Join(filepath.Dir(name), "."+filepath.Base(name)+".new")
	_ = os.Remove(temporary)
	if err := os.Link(program, temporary); err != nil {
		if err := os.Symlink(filepath.Base(program), temporary); err != nil {
			return err
		}
	}
	err := os.Rename(temporary, name)
	_ = os.Remove(temporary)
	return err
}
