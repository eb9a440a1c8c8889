// SPDX-License-Identifier: Apache-2.0

// Command kubeproxy is kube-proxy itself, to be measured beside ours.
package main

import (
	"os"

	"k8s.io/component-base/cli"
	"k8s.io/kubernetes/cmd/kube-proxy/app"
)

func main() { os.Exit(cli.Run(app.NewProxyCommand())) }
