// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"eastwest/internal/demo"
)

// newDemo makes `eastwest demo`.
func newDemo(s Streams) *cobra.Command {
	var name, kubeconfig, namespace, output string
	var cleanup bool
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Deploy a Service and show who answers it, from every node, and by which way",
		Args:  arguments(cobra.NoArgs),
	}
	flags := cmd.Flags()
	flags.StringVar(&name, "name", "eastwest", "name of the local cluster")
	flags.StringVar(&kubeconfig, "kubeconfig", "", "file that says how to reach the API server (default the usual kubeconfig, context eastwest-NAME)")
	flags.StringVarP(&namespace, "namespace", "n", "default", "namespace of the demo's objects")
	flags.StringVarP(&output, "output", "o", "", "output form: json, or empty for text")
	flags.DurationVar(&wait, "timeout", 2*time.Minute, "how long to wait for pods to become ready")
	flags.BoolVar(&cleanup, "cleanup", false, "delete the demo's objects instead")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if output != "" && output != "json" {
			return &UsageError{Err: fmt.Errorf("unknown output form %q: use json, or leave -o out", output)}
		}
		api, err := demoAPI(kubeconfig, name)
		if err != nil {
			return err
		}
		program, err := os.Executable()
		if err != nil {
			return fmt.Errorf("find this program: %w", err)
		}
		d, err := demo.New(demo.Config{
			API: api, Namespace: namespace, Wait: wait, RunOnNode: demo.NodeExec(program, name),
			Progress: func(text string) { fmt.Fprintln(s.Err, text) },
		})
		if err != nil {
			return err
		}
		if cleanup {
			return d.Cleanup(cmd.Context())
		}
		return runDemo(cmd.Context(), s, d, output)
	}
	return cmd
}

func runDemo(ctx context.Context, s Streams, d *demo.Demo, output string) error {
	report, err := d.Run(ctx)
	if err != nil {
		return err
	}
	if output == "json" {
		encoder := json.NewEncoder(s.Out)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(report)
	} else {
		_, err = fmt.Fprint(s.Out, report)
	}
	if n := len(report.Problems()); err == nil && n > 0 {
		return fmt.Errorf("the demo found problems: %d (see above)", n)
	}
	return err
}

// demoAPI finds the API server: in the file given, whose current context counts, or in the usual ones.
func demoAPI(kubeconfig, cluster string) (*rest.Config, error) {
	rules, overrides := clientcmd.NewDefaultClientConfigLoadingRules(), &clientcmd.ConfigOverrides{}
	if kubeconfig != "" {
		rules.ExplicitPath = kubeconfig
	} else {
		overrides.CurrentContext = "eastwest-" + cluster
	}
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, overrides).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("find the API server of cluster %q (is it up? see eastwest node list): %w", cluster, err)
	}
	config.QPS, config.Burst = 50, 100
	return config, nil
}
