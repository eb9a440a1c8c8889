// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// The programs beside this one.
const (
	nodeProgram   = "eastwest-node"
	serverProgram = "eastwest-server"
	cniProgram    = "eastwest-cni"
)

// newSibling makes a command that becomes another program of eastwest, so that people learn one name.
func newSibling(name, short, program string) *cobra.Command {
	return &cobra.Command{
		Use:                name,
		Short:              short,
		DisableFlagParsing: true,
		RunE: func(_ *cobra.Command, args []string) error {
			if program == nodeProgram {
				args = append([]string{name}, args...)
			}
			return become(program, args)
		},
	}
}

// called is the name that people know a program by: the commands of eastwest-node are those of eastwest.
func called(program string) string {
	if program == nodeProgram {
		return "eastwest"
	}
	return program
}

// become replaces this program by its sibling. It returns only an error.
func become(program string, args []string) error {
	dir, err := programDir()
	if err != nil {
		return err
	}
	path := filepath.Join(dir, program)
	if err := unix.Exec(path, append([]string{called(program)}, args...), os.Environ()); err != nil {
		return fmt.Errorf("run %s (it has to be beside this program; make build builds all of them): %w", path, err)
	}
	return nil
}
