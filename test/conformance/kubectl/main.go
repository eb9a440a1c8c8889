// SPDX-License-Identifier: Apache-2.0

// Command kubectl is Kubernetes' own, for the specs that run it.
package main

import (
	"os"

	"k8s.io/component-base/cli"
	"k8s.io/kubectl/pkg/cmd"
)

func main() { os.Exit(cli.Run(cmd.NewDefaultKubectlCommand())) }
