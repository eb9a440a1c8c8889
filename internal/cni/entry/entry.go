// SPDX-License-Identifier: Apache-2.0

// Package entry is where the plugins' program starts when it is linked with -E eastwest/internal/cni/entry.start: a few
// system calls before Go's own start, which takes longer than most of what a plugin does.
//
//	somebody at Socket reads the request ─▶ what it says, and exit code ─▶ exit     (package serve does the call, with this process's stdin)
//	nobody there, request not read in time, "not mine" ─▶ Go's own start: the plugin does the call itself
//
// The request is one message: the process's arguments and environment as they lie in its memory, each string ended by a
// zero byte, and with it the descriptors 0, 1 and 2. The answer is one message as well: a kind and a value, both 32 bits in the
// machine's order, and what is to be written on stdout, so that a call whose server ended has said all or nothing. Reading the request is beginning with it: a reader that ends without an answer may have done half of the call,
// and one that ends without having read, which the kernel tells apart (ECONNRESET; SIOCOUTQ), none of it. Who does not wait any more
// says so before it looks (SHUT_WR), and whoever reads a request looks for that first.
//
// It is written in assembly because nothing of Go works before Go has started. Linked without -E, or for another processor, the
// program does every call itself.
package entry

// Socket is where calls are answered, SOCK_SEQPACKET. Its number counts the versions of the messages.
const Socket = "/run/eastwest/cni.2.sock"

// Kinds of answers.
const (
	Declined = iota + 1 // this process is to do the call itself
	Done                // the value is the exit code
)

// Limit is the size of the largest request, and of what the largest answer says, in bytes.
const Limit = 64 << 10

// answer is where an answer is read into.
var answer [8 + Limit]byte

// lost is not zero when the request was read and there was no answer. The call's stdin may have been read then.
var lost uint32

// Lost reports that whoever did this call ended while doing it.
func Lost() bool { return lost != 0 }
