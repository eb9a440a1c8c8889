// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/util/version"

	ipt "eastwest/internal/kernel/iptables"
)

// tested is the oldest version of a backend's program that is tested, and what to use where it is missing.
type tested struct{ program, oldest, pack, instead string }

func programOf(backend string) tested {
	if backend == "iptables" {
		return tested{"iptables", "1.8.9", "iptables", "nftables"}
	}
	return tested{"nft", "1.0.6", "nftables", "iptables"}
}

// advice says what is wrong with a version of the program; empty when nothing is.
func (t tested) advice(have string) string {
	found, err := version.ParseGeneric(have)
	if err != nil || found.AtLeast(version.MustParseGeneric(t.oldest)) {
		return ""
	}
	return fmt.Sprintf("%s %s is older than %s, the oldest that is tested: if it refuses the rules, install a newer package %s, or use --backend %s",
		t.program, have, t.oldest, t.pack, t.instead)
}

// lookAtProgram tells of a program that may be too old. What is missing is told when it is needed.
func (n *Network) lookAtProgram(ctx context.Context) error {
	ask, t := n.tables.Version, programOf(n.config.Backend)
	if t.program == "iptables" {
		ask = func(ctx context.Context) (string, error) {
			text, err := ipt.New(n.config.Netns).Version(ctx) // iptables v1.8.9 (nf_tables)
			_, number, _ := strings.Cut(string(text), " v")
			number, _, _ = strings.Cut(number, " ")
			return number, err
		}
	}
	if have, err := ask(ctx); err == nil {
		if advice := t.advice(have); advice != "" {
			n.config.Log.Warn(advice)
		}
	}
	return nil
}
