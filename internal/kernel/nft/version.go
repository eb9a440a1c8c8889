// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"context"
	"fmt"
	"strings"
)

// Version returns the version of the program nft, such as 1.0.6.
func (c *Conn) Version(ctx context.Context) (string, error) {
	text, err := c.nft(ctx, "", "--version") // nftables v1.0.6 (Lester Gooch #5)
	if err != nil {
		return "", fmt.Errorf("ask nft for its version: %w", err)
	}
	_, after, _ := strings.Cut(text, " v")
	version, _, _ := strings.Cut(strings.TrimSpace(after), " ")
	return version, nil
}
