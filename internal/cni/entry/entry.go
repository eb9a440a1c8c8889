// SPDX-License-Identifier: Apache-2.0

// Package entry is where the plugins' program starts when it is linked with -E eastwest/internal/cni/entry.start: a few
// system calls before Go's own start, which takes longer than most of what a plugin does.
//
//	Socket there ─▶ "begun" ─▶ exit code ─▶ exit        (package serve does the call, with this process's stdin and stdout)
//	nobody there, "not mine", no answer ─▶ Go's own start: the plugin does the call itself
//
// The request is one message: the process's arguments and environment as they lie in its memory, each string ended by a
// zero byte, and with it the descriptors 0, 1 and 2. An answer is eight bytes, a kind and a value, both 32 bits in the
// machine's order. It is written in assembly because nothing of Go works before Go has started. Linked without -E, or for
// another processor, the program does every call itself.
package entry

// Socket is where calls are answered, SOCK_SEQPACKET. Its number counts the versions of the messages.
const Socket = "/run/eastwest/cni.1.sock"

// Kinds of answers.
const (
	Begun    = iota + 1 // the call is being done and may have changed something; an answer of kind Done follows
	Declined            // this process is to do the call itself
	Done                // the value is the exit code
)

// Limit is the size of the largest request, in bytes.
const Limit = 64 << 10

// lost is not zero when an answer Begun was the last one. The call's stdin has been read then.
var lost uint32

// Lost reports that whoever did this call ended while doing it.
func Lost() bool { return lost != 0 }
