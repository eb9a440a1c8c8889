// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	componentcli "k8s.io/component-base/cli"
	kubectl "k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/plugin"
	"k8s.io/kubectl/pkg/cmd/util"
)

func newKubectl(s Streams) *cobra.Command {
	return &cobra.Command{
		Use:                "kubectl",
		Short:              "Control a cluster: Kubernetes' own kubectl, built in",
		DisableFlagParsing: true,
		RunE: func(_ *cobra.Command, args []string) error {
			runKubectl(s, args)
			return nil
		},
	}
}

// runKubectl behaves as kubectl does, up to its error messages and exit statuses, with which it ends this program.
func runKubectl(s Streams, args []string) {
	streams := genericiooptions.IOStreams{In: s.In, Out: s.Out, ErrOut: s.Err}
	flags := genericclioptions.NewConfigFlags(true).WithDeprecatedPasswordFlag().
		WithDiscoveryBurst(300).WithDiscoveryQPS(50).WithWarningPrinter(streams)
	command := kubectl.NewDefaultKubectlCommandWithArgs(kubectl.KubectlOptions{
		PluginHandler: kubectl.NewDefaultPluginHandler(plugin.ValidPluginFilenamePrefixes),
		Arguments:     append([]string{"kubectl"}, args...),
		ConfigFlags:   flags,
		IOStreams:     streams,
	})
	command.SetArgs(args)
	if err := componentcli.RunNoErrOutput(command); err != nil {
		util.CheckErr(err)
	}
}
