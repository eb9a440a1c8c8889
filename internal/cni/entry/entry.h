// SPDX-License-Identifier: Apache-2.0

// What entry_*.s share: constants of Linux that are alike on these processors, and the socket's address.

#define AF_UNIX 1
#define SEQPACKET_CLOEXEC 0x80005
#define SOL_SOCKET 1
#define SCM_RIGHTS 1
#define MSG_NOSIGNAL 0x4000
#define SHUT_WR 1
#define SIOCOUTQ 0x5411
#define ECONNRESET 104
#define POLLIN 1

// Kinds of answers, as in entry.go.
#define DECLINED 1
#define DONE 2

// The longest answer: two numbers and Limit bytes.
#define ANSWER_LIMIT 65544

// struct sockaddr_un of Socket
DATA ·address+0(SB)/2, $AF_UNIX
DATA ·address+2(SB)/8, $"/run/eas"
DATA ·address+10(SB)/8, $"twest/cn"
DATA ·address+18(SB)/8, $"i.2.sock"
DATA ·address+26(SB)/1, $0
GLOBL ·address(SB), RODATA|NOPTR, $27
