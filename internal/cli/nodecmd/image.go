// SPDX-License-Identifier: Apache-2.0

package nodecmd

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"eastwest/internal/cri/images"
	"eastwest/internal/cri/transfer"
)

func newImage(s Streams) *cobra.Command {
	cmd := parent(&cobra.Command{Use: "image", Short: "Work on this node's image store"})
	cmd.AddCommand(newImageLoad(s))
	return cmd
}

// imageStore is where images are put.
type imageStore interface {
	Load(ctx context.Context, archive string) ([]string, error)
}

func openStore(ctx context.Context, root, endpoint string) (imageStore, error) {
	if endpoint != "" {
		return transfer.Open(ctx, endpoint)
	}
	return images.Open(root)
}

func newImageLoad(s Streams) *cobra.Command {
	var root, endpoint string
	cmd := &cobra.Command{
		Use:   "load FILE...",
		Short: "Put OCI or docker archives into the store and print the names of their images",
		Args:  arguments(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, files []string) error {
			store, err := openStore(cmd.Context(), root, endpoint)
			if err != nil {
				return err
			}
			for _, file := range files {
				names, err := store.Load(cmd.Context(), file)
				if err != nil {
					return err
				}
				for _, name := range names {
					fmt.Fprintln(s.Out, name)
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&endpoint, "cri", "", "socket of another container runtime, containerd or Docker, to put them into its store (default: the built-in one's)")
	cmd.Flags().StringVar(&root, "root", "/var/lib/eastwest/cri", "folder of the container runtime's persistent state")
	return cmd
}
