// SPDX-License-Identifier: Apache-2.0

// Command nonewprivs prints the user that it acts as. In its image it belongs to root and has the set-user-id bit.
package main

import (
	"fmt"
	"os"
)

func main() { fmt.Printf("Effective uid: %d\n", os.Geteuid()) }
