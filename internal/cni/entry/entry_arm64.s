// SPDX-License-Identifier: Apache-2.0

#include "textflag.h"
#include "entry.h"

// System calls of Linux on this processor.
#define SYS_ioctl 29
#define SYS_close 57
#define SYS_read 63
#define SYS_write 64
#define SYS_ppoll 73
#define SYS_exit_group 94
#define SYS_socket 198
#define SYS_connect 203
#define SYS_shutdown 210
#define SYS_sendmsg 211
#define PATIENCE 2 // seconds until it is asked whether the request was read

// The kernel starts here with RSP at argc, argv…, 0, envp…, 0. Go's start wants the same RSP and nothing else. R20 keeps it,
// R19 the socket; a system call changes R0. The steps are those of entry_amd64.s.
TEXT ·start(SB), NOSPLIT|NOFRAME|TOPFRAME, $0
	MOVD RSP, R20
	MOVD 0(R20), R0
	CMP  $1, R0 // plugins have no arguments
	BNE  own
	MOVD $AF_UNIX, R0
	MOVD $SEQPACKET_CLOEXEC, R1
	MOVD $0, R2
	MOVD $SYS_socket, R8
	SVC
	CMP  $0, R0
	BLT  own
	MOVD R0, R19
	MOVD $·address(SB), R1
	MOVD $27, R2
	MOVD $SYS_connect, R8
	SVC
	CBNZ R0, close

	// R9: the first string; R10: the last one, then its end, then the length of all
	MOVD 8(R20), R9
	MOVD R9, R10
	ADD  $24, R20, R11
environ:
	MOVD (R11), R12
	CBZ  R12, end
	MOVD R12, R10
	ADD  $8, R11
	B    environ
end:
	MOVBU (R10), R12
	CBZ  R12, send
	ADD  $1, R10
	B    end
send:
	SUB  R9, R10, R10
	SUB  $128, RSP
	MOVD RSP, R21
	MOVD R9, 0(R21) // struct iovec
	MOVD R10, 8(R21)
	MOVD $28, R0 // struct cmsghdr and three descriptors
	MOVD R0, 16(R21)
	MOVW $SOL_SOCKET, R0
	MOVW R0, 24(R21)
	MOVW $SCM_RIGHTS, R0
	MOVW R0, 28(R21)
	MOVW ZR, 32(R21)
	MOVW $1, R0
	MOVW R0, 36(R21)
	MOVW $2, R0
	MOVW R0, 40(R21)
	MOVD ZR, 48(R21) // struct msghdr: no name
	MOVD ZR, 56(R21)
	MOVD R21, 64(R21) // the iovec
	MOVD $1, R0
	MOVD R0, 72(R21)
	ADD  $16, R21, R0 // the cmsghdr
	MOVD R0, 80(R21)
	MOVD $28, R0
	MOVD R0, 88(R21)
	MOVD ZR, 96(R21)
	MOVD R19, R0
	ADD  $48, R21, R1
	MOVD $MSG_NOSIGNAL, R2
	MOVD $SYS_sendmsg, R8
	SVC
	CMP  R10, R0
	BNE  close

	MOVW R19, 0(R21) // struct pollfd
	MOVW $POLLIN, R0
	MOVW R0, 4(R21)
	MOVD $PATIENCE, R0 // struct timespec
	MOVD R0, 16(R21)
	MOVD ZR, 24(R21)
	MOVD R21, R0
	MOVD $1, R1
	ADD  $16, R21, R2
	MOVD $0, R3
	MOVD $0, R4
	MOVD $SYS_ppoll, R8
	SVC
	CMP  $1, R0
	BEQ  answer

	// Nothing in time. Who reads the request from here on sees that it is withdrawn; who has read it is waited for.
	MOVD R19, R0
	MOVD $SHUT_WR, R1
	MOVD $SYS_shutdown, R8
	SVC
	MOVD R19, R0
	MOVD $SIOCOUTQ, R1
	MOVD R21, R2
	MOVD $SYS_ioctl, R8
	SVC
	CBNZ R0, close
	MOVWU 0(R21), R0
	CBNZ R0, close
answer:
	MOVD R19, R0
	MOVD $·answer(SB), R21
	MOVD R21, R1
	MOVD $ANSWER_LIMIT, R2
	MOVD $SYS_read, R8
	SVC
	CMP  $-ECONNRESET, R0 // it was not read
	BEQ  close
	CMP  $8, R0
	BLT  lost
	MOVWU 0(R21), R1
	CMP  $DECLINED, R1
	BEQ  close
	CMP  $DONE, R1
	BNE  lost

	// What the call says is written here: once it is, so is the exit code.
	MOVWU 4(R21), R9
	ADD  $8, R21
	SUB  $8, R0, R10
write:
	CBZ  R10, exit
	MOVD $1, R0
	MOVD R21, R1
	MOVD R10, R2
	MOVD $SYS_write, R8
	SVC
	ADD  R0, R21
	SUB  R0, R10
	CMP  $0, R0
	BGT  write
	MOVD $1, R9 // as for every plugin that cannot say what it did
exit:
	MOVD R9, R0
	MOVD $SYS_exit_group, R8
	SVC
lost:
	MOVW $1, R0
	MOVW R0, ·lost(SB)
close:
	MOVD R19, R0
	MOVD $SYS_close, R8
	SVC
	MOVD R20, RSP
own:
	B _rt0_arm64_linux(SB)
