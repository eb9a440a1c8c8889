// SPDX-License-Identifier: Apache-2.0

package apidouble

import "strconv"

func text(version uint64) string { return strconv.FormatUint(version, 10) }

// number reads a resource version; none is 0.
func number(version string) uint64 {
	n, err := strconv.ParseUint(version, 10, 64)
	if err != nil {
		return 0
	}
	return n
}
