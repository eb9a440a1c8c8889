// SPDX-License-Identifier: Apache-2.0

#include "textflag.h"
#include "entry.h"

// System calls of Linux on this processor.
#define SYS_read 0
#define SYS_write 1
#define SYS_close 3
#define SYS_poll 7
#define SYS_ioctl 16
#define SYS_socket 41
#define SYS_connect 42
#define SYS_sendmsg 46
#define SYS_shutdown 48
#define SYS_exit_group 231
#define PATIENCE 2000 // milliseconds until it is asked whether the request was read

// The kernel starts here with SP at argc, argv…, 0, envp…, 0. Go's start wants the same SP and nothing else. R12 keeps it,
// R13 the socket; a system call changes AX, CX and R11.
TEXT ·start(SB), NOSPLIT|NOFRAME|TOPFRAME, $0
	MOVQ SP, R12
	CMPQ 0(R12), $1 // plugins have no arguments
	JNE  own
	MOVQ $AF_UNIX, DI
	MOVQ $SEQPACKET_CLOEXEC, SI
	XORQ DX, DX
	MOVQ $SYS_socket, AX
	SYSCALL
	TESTQ AX, AX
	JLT  own
	MOVQ AX, R13
	MOVQ R13, DI
	LEAQ ·address(SB), SI
	MOVQ $27, DX
	MOVQ $SYS_connect, AX
	SYSCALL
	TESTQ AX, AX
	JNE  close

	// R8: the first string; R9: the last one, then its end, then the length of all
	MOVQ 8(R12), R8
	MOVQ R8, R9
	LEAQ 24(R12), BX
environ:
	MOVQ (BX), DX
	TESTQ DX, DX
	JEQ  end
	MOVQ DX, R9
	ADDQ $8, BX
	JMP  environ
end:
	CMPB (R9), $0
	JEQ  send
	INCQ R9
	JMP  end
send:
	SUBQ R8, R9
	SUBQ $128, SP
	MOVQ R8, 0(SP)  // struct iovec
	MOVQ R9, 8(SP)
	MOVQ $28, 16(SP) // struct cmsghdr and three descriptors
	MOVL $SOL_SOCKET, 24(SP)
	MOVL $SCM_RIGHTS, 28(SP)
	MOVL $0, 32(SP)
	MOVL $1, 36(SP)
	MOVL $2, 40(SP)
	MOVQ $0, 48(SP) // struct msghdr: no name
	MOVQ $0, 56(SP)
	MOVQ SP, 64(SP) // the iovec
	MOVQ $1, 72(SP)
	LEAQ 16(SP), AX // the cmsghdr
	MOVQ AX, 80(SP)
	MOVQ $28, 88(SP)
	MOVQ $0, 96(SP)
	MOVQ R13, DI
	LEAQ 48(SP), SI
	MOVQ $MSG_NOSIGNAL, DX
	MOVQ $SYS_sendmsg, AX
	SYSCALL
	CMPQ AX, R9
	JNE  close

	MOVL R13, 0(SP) // struct pollfd
	MOVL $POLLIN, 4(SP)
	MOVQ SP, DI
	MOVQ $1, SI
	MOVQ $PATIENCE, DX
	MOVQ $SYS_poll, AX
	SYSCALL
	CMPQ AX, $1
	JEQ  answer

	// Nothing in time. Who reads the request from here on sees that it is withdrawn; who has read it is waited for.
	MOVQ R13, DI
	MOVQ $SHUT_WR, SI
	MOVQ $SYS_shutdown, AX
	SYSCALL
	MOVQ R13, DI
	MOVQ $SIOCOUTQ, SI
	MOVQ SP, DX
	MOVQ $SYS_ioctl, AX
	SYSCALL
	TESTQ AX, AX
	JNE  close
	CMPL 0(SP), $0
	JNE  close
answer:
	MOVQ R13, DI
	LEAQ ·answer(SB), R14
	MOVQ R14, SI
	MOVQ $ANSWER_LIMIT, DX
	MOVQ $SYS_read, AX
	SYSCALL
	CMPQ AX, $-ECONNRESET // it was not read
	JEQ  close
	CMPQ AX, $8
	JLT  lost
	CMPL 0(R14), $DECLINED
	JEQ  close
	CMPL 0(R14), $DONE
	JNE  lost

	// What the call says is written here: once it is, so is the exit code.
	MOVL 4(R14), R12
	ADDQ $8, R14
	SUBQ $8, AX
	MOVQ AX, R9
write:
	TESTQ R9, R9
	JEQ  exit
	MOVQ $1, DI
	MOVQ R14, SI
	MOVQ R9, DX
	MOVQ $SYS_write, AX
	SYSCALL
	ADDQ AX, R14
	SUBQ AX, R9
	TESTQ AX, AX
	JGT  write
	MOVQ $1, R12 // as for every plugin that cannot say what it did
exit:
	MOVQ R12, DI
	MOVQ $SYS_exit_group, AX
	SYSCALL
lost:
	MOVL $1, ·lost(SB)
close:
	MOVQ R13, DI
	MOVQ $SYS_close, AX
	SYSCALL
	MOVQ R12, SP
own:
	JMP _rt0_amd64_linux(SB)
