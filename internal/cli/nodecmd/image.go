// SPDX-License-Identifier: Apache-2.0

package nodecmd

import (
	"fmt"

	"github.com/spf13/cobra"

	"eastwest/internal/cri/images"
)

func newImage(s Streams) *cobra.Command {
	cmd := parent(&cobra.Command{Use: "image", Short: "Work on this node's image store"})
	cmd.AddCommand(newImageLoad(s))
	return cmd
}

func newImageLoad(s Streams) *cobra.Command {
	var root string
	cmd := &cobra.Command{
		Use:   "load FILE...",
		Short: "Put OCI or docker archives into the store and print the names of their images",
		Args:  arguments(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, files []string) error {
			store, err := images.Open(root)
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
	cmd.Flags().StringVar(&root, "root", "/var/lib/eastwest/cri", "folder of the container runtime's persistent state")
	return cmd
}
