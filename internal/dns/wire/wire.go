// SPDX-License-Identifier: Apache-2.0

// Package wire reads queries and writes replies as DNS messages (RFC 1035, RFC 6891) without allocating.
//
// A packet becomes a Query (Parse); a Reply appends records behind a copy of the packet's question, so that the case of
// the name is kept, and Finish puts the header and the OPT record in place. Owner names of records are pointers into the
// question, which always begins at the same offset, so prepared records fit any query for their name.
package wire

// HeaderLen is the length of a DNS header in bytes; the question follows it.
const HeaderLen = 12

// MaxName is the longest name in its wire form, with length bytes and root.
const MaxName = 255

// MinUDP is the size that every client takes over UDP, and what one without EDNS gets.
const MinUDP = 512

// Record types and classes that replies are made of (RFC 1035, 3596, 2782, 6891, 8482).
const (
	TypeA     = 1
	TypeNS    = 2
	TypeCNAME = 5
	TypeSOA   = 6
	TypePTR   = 12
	TypeHINFO = 13
	TypeMX    = 15
	TypeTXT   = 16
	TypeAAAA  = 28
	TypeSRV   = 33
	TypeOPT   = 41
	TypeHTTPS = 65
	TypeIXFR  = 251
	TypeAXFR  = 252
	TypeANY   = 255

	ClassIN  = 1
	ClassANY = 255
)

// Response codes (RFC 1035, 6891).
const (
	NoError  = 0
	FormErr  = 1
	ServFail = 2
	NXDomain = 3
	NotImp   = 4
	Refused  = 5
	BadVers  = 16
)

// Header bits of the second 16-bit word.
const (
	FlagQR = 1 << 15
	FlagAA = 1 << 10
	FlagTC = 1 << 9
	FlagRD = 1 << 8
	FlagRA = 1 << 7
	FlagAD = 1 << 5
	FlagCD = 1 << 4
)
