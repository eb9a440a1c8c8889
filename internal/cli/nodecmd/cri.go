// SPDX-License-Identifier: Apache-2.0

package nodecmd

import (
	"fmt"
	"os/signal"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"eastwest/internal/cri"
	"eastwest/internal/cri/images"
)

func newCRI(s Streams) *cobra.Command {
	var socket string
	var verbose bool
	var mirrors []string
	config := cri.Config{}
	cmd := &cobra.Command{
		Use:   "cri --socket PATH",
		Short: "Run the container runtime alone, for a kubelet or crictl",
		Long: `Run the container runtime: a CRI server (RuntimeService and ImageService, v1) that runs containers by runc, each
under conmon. Containers go on when it stops.`,
		Example: `  eastwest cri --socket /run/eastwest/cri.sock
  crictl --runtime-endpoint unix:///run/eastwest/cri.sock pods`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if config.Mirrors, err = images.ParseMirrors(mirrors); err != nil {
				return usageError{fmt.Errorf("--registry-mirror: %w", err)}
			}
			config.Log = logger(s, verbose)
			ctx, stop := signal.NotifyContext(cmd.Context(), unix.SIGTERM, unix.SIGINT)
			defer stop()
			server, err := cri.New(ctx, config)
			if err != nil {
				return err
			}
			return server.Serve(ctx, socket)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&socket, "socket", "/run/eastwest/cri.sock", "Unix socket to serve on")
	flags.StringVar(&config.Root, "root", "/var/lib/eastwest/cri", "folder for images and containers")
	flags.StringVar(&config.State, "state", "/run/eastwest/cri", "folder for what a restart of the machine ends")
	flags.StringVar(&config.CNIConfDir, "cni-conf-dir", "/etc/cni/net.d", "folder of CNI configuration")
	flags.StringSliceVar(&config.CNIBinDirs, "cni-bin-dir", []string{"/opt/cni/bin"}, "folder of CNI plugins")
	flags.StringVar(&config.NetnsDir, "netns-dir", "/run/netns", "folder for pods' network namespaces")
	flags.StringVar(&config.Runtime, "runtime", "", "path of runc (default: looked up)")
	flags.StringVar(&config.Crun, "crun", "", "path of crun, the runtime handler crun (default: looked up, none where it is not installed)")
	flags.StringVar(&config.Monitor, "monitor", "", "path of conmon (default: looked up)")
	flags.StringVar(&config.StreamAddress, "stream-address", "127.0.0.1:0", "where exec, attach and port-forward are served")
	flags.StringArrayVar(&mirrors, "registry-mirror", nil, "host to ask for images before their registry, REGISTRY=URL; several are asked in turn")
	flags.BoolVarP(&verbose, "verbose", "v", false, "log what is done, not only what is wrong")
	return cmd
}
