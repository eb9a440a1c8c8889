// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"context"
	"fmt"
	"strings"
)

// Version returns the version of the iptables programs, such as 1.8.9.
func (c *Conn) Version(ctx context.Context) (string, error) {
	text, err := c.run(ctx, "", "iptables", "--version") // iptables v1.8.9 (nf_tables)
	if err != nil {
		return "", fmt.Errorf("ask iptables for its version: %w", err)
	}
	_, after, _ := strings.Cut(text, " v")
	version, _, _ := strings.Cut(strings.TrimSpace(after), " ")
	return version, nil
}
