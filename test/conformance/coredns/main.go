// SPDX-License-Identifier: Apache-2.0

// Command coredns is CoreDNS with the plugins that specs configure; the image agnhost has it beside agnhost.
package main

import (
	"github.com/coredns/coredns/coremain"

	_ "github.com/coredns/coredns/plugin/hosts"
	_ "github.com/coredns/coredns/plugin/log"
)

func main() { coremain.Run() }
