// SPDX-License-Identifier: Apache-2.0

// Command kubelet is Kubernetes' own kubelet, to run pods on our container runtime and to be measured beside ours.
package main

import (
	"context"
	"os"

	"k8s.io/component-base/cli"
	"k8s.io/kubernetes/cmd/kubelet/app"
)

func main() { os.Exit(cli.Run(app.NewKubeletCommand(context.Background()))) }
