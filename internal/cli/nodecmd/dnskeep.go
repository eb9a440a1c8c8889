// SPDX-License-Identifier: Apache-2.0

package nodecmd

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"eastwest/internal/dns/keeper"
)

// keeperPatience is how long sockets are kept for an agent that has gone: as long as resolvers ask, which is twice 5 s.
const keeperPatience = 10 * time.Second

// keeperSocket is the descriptor that the keeper finds its own socket at.
const keeperSocket = 3

// newDNSKeep is what an agent starts; people have no use for it.
func newDNSKeep() *cobra.Command {
	return &cobra.Command{
		Use:    "keep",
		Short:  "Keep the sockets of an agent's DNS while it restarts",
		Hidden: true,
		Args:   arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := keeper.Listener(os.NewFile(keeperSocket, "keeper"))
			if err != nil {
				return fmt.Errorf("only an agent starts this: %w", err)
			}
			return keeper.Keep(cmd.Context(), l, keeperPatience)
		},
	}
}

// startDNSKeeper starts this program once more, in a session of its own, so that it outlives whoever started it.
func startDNSKeeper(socket *os.File) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, "dns", "keep")
	cmd.ExtraFiles = []*os.File{socket}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() { _ = cmd.Wait() }()
	return nil
}
