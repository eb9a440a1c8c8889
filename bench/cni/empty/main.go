// SPDX-License-Identifier: Apache-2.0

// Command empty does nothing: what its start takes, every plugin's takes.
package main

func main() {}
