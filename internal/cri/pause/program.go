// SPDX-License-Identifier: Apache-2.0

// Package pause makes the program that holds a pod's shared process namespace: process 1, which only sleeps and leaves
// the reaping of orphans to the kernel. It is so small (a page of memory, no libraries) that it is written here as
// instructions and needs no file beside our own programs.
package pause

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
)

// Write makes the executable at path, replacing what is there.
func Write(path, arch string) error {
	image, err := image(arch)
	if err != nil {
		return err
	}
	tmp := path + ".tmp"
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("write pause program: %w", err)
	}
	if err := os.WriteFile(tmp, image, 0o755); err != nil {
		return fmt.Errorf("write pause program: %w", err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("write pause program: %w", err)
	}
	return nil
}

// Address of the program in memory and sizes of the ELF headers.
const (
	base        = 0x400000
	headerSize  = 64
	programSize = 56
)

// image makes a static ELF file (System V ABI, "Object Files") of one segment.
func image(arch string) ([]byte, error) {
	var machine uint16
	var code []byte
	switch arch {
	case "amd64":
		machine, code = 62, amd64()
	case "arm64":
		machine, code = 183, arm64()
	default:
		return nil, fmt.Errorf("make pause program: no instructions for architecture %s", arch)
	}
	size := uint64(headerSize + programSize + len(code))
	var b bytes.Buffer
	b.Write([]byte{0x7f, 'E', 'L', 'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	for _, field := range []any{
		uint16(2), machine, uint32(1), // executable, version 1
		uint64(base + headerSize + programSize), uint64(headerSize), uint64(0), // entry, program headers, no sections
		uint32(0), uint16(headerSize), uint16(programSize), uint16(1), uint16(0), uint16(0), uint16(0),
		uint32(1), uint32(5), uint64(0), uint64(base), uint64(base), size, size, uint64(0x1000), // load, read and execute
	} {
		if err := binary.Write(&b, binary.LittleEndian, field); err != nil {
			return nil, fmt.Errorf("make pause program: %w", err)
		}
	}
	b.Write(code)
	return b.Bytes(), nil
}

// amd64 ignores SIGCHLD, so that the kernel reaps orphans, and pauses for ever.
func amd64() []byte {
	return []byte{
		0x48, 0x83, 0xec, 0x20, // sub rsp, 32: room for struct sigaction
		0x48, 0xc7, 0x04, 0x24, 1, 0, 0, 0, // mov qword [rsp], SIG_IGN
		0x48, 0xc7, 0x44, 0x24, 0x08, 0, 0, 0, 0, // mov qword [rsp+8], 0: flags
		0x48, 0xc7, 0x44, 0x24, 0x10, 0, 0, 0, 0, // mov qword [rsp+16], 0: restorer
		0x48, 0xc7, 0x44, 0x24, 0x18, 0, 0, 0, 0, // mov qword [rsp+24], 0: mask
		0xbf, 17, 0, 0, 0, // mov edi, SIGCHLD
		0x48, 0x89, 0xe6, // mov rsi, rsp
		0x31, 0xd2, // xor edx, edx
		0x41, 0xba, 8, 0, 0, 0, // mov r10d, 8: size of the mask
		0xb8, 13, 0, 0, 0, // mov eax, rt_sigaction
		0x0f, 0x05, // syscall
		0xb8, 34, 0, 0, 0, // mov eax, pause
		0x0f, 0x05, // syscall
		0xeb, 0xf7, // jmp to the mov before
	}
}

// arm64 does the same; pause is ppoll without descriptors and without a limit.
func arm64() []byte {
	words := []uint32{
		0xd10083ff, // sub sp, sp, #32
		0xd2800020, // mov x0, #1: SIG_IGN
		0xa9007fe0, // stp x0, xzr, [sp]
		0xa9017fff, // stp xzr, xzr, [sp, #16]
		0xd2800220, // mov x0, #17: SIGCHLD
		0x910003e1, // mov x1, sp
		0xd2800002, // mov x2, #0
		0xd2800103, // mov x3, #8
		0xd28010c8, // mov x8, #134: rt_sigaction
		0xd4000001, // svc #0
		0xd2800000, // mov x0, #0
		0xd2800001, // mov x1, #0
		0xd2800002, // mov x2, #0
		0xd2800003, // mov x3, #0
		0xd2800928, // mov x8, #73: ppoll
		0xd4000001, // svc #0
		0x17fffffa, // b to the first mov of ppoll
	}
	var b []byte
	for _, w := range words {
		b = binary.LittleEndian.AppendUint32(b, w)
	}
	return b
}
