// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newImage(s Streams) *cobra.Command {
	cmd := parent(&cobra.Command{Use: "image", Short: "Put images into the nodes of a local cluster"})
	cmd.AddCommand(newImageLoad(s))
	return cmd
}

func newImageLoad(s Streams) *cobra.Command {
	var name string
	var where place
	cmd := &cobra.Command{
		Use:     "load FILE...",
		Short:   "Put OCI or docker archives into every node's image store",
		Example: "  docker save nginx | gzip >nginx.tar.gz && eastwest image load nginx.tar.gz",
		Args:    arguments(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, files []string) error {
			ctx, stop := interruptible(cmd.Context())
			defer stop()
			clusters, err := where.open(s, nil)
			if err != nil {
				return err
			}
			for _, file := range files {
				names, err := clusters.LoadImage(ctx, name, file)
				for _, image := range names {
					fmt.Fprintln(s.Out, image)
				}
				if err != nil {
					return err
				}
			}
			return nil
		},
	}
	nameFlag(cmd, &name)
	where.flags(cmd)
	return cmd
}
