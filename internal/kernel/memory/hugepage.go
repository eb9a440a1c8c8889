// SPDX-License-Identifier: Apache-2.0

// Package memory offers the heap of a large program to the kernel for huge pages.
package memory

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// hugePage is the size of a huge page on the architectures that Go runs on with 4 KiB pages.
const hugePage = 2 << 20

// ReserveHuge makes the first bytes of the heap, which the program is about to grow into, eligible for huge pages (madvise(2)
// MADV_HUGEPAGE). It takes address space alone: memory is resident when it is used, as before. Call it at the start of a
// program; a kernel without huge pages is an error that the caller may ignore.
//
// Most distributions leave transparent huge pages to programs that ask (transparent_hugepage/enabled is "madvise"), and
// Go's runtime never asks. In a virtual machine, where each page is translated twice, small pages cost the most.
func ReserveHuge(bytes int) error {
	// The runtime has no call for this, but it keeps what it once mapped: a block that nobody touches is mapped, advised
	// and given back to the heap, which from then on allocates in it.
	block := make([]byte, bytes)
	start := uintptr(unsafe.Pointer(unsafe.SliceData(block)))
	skip := int((hugePage - start%hugePage) % hugePage)
	if len(block)-skip < hugePage {
		return fmt.Errorf("reserve %d bytes for huge pages: a huge page has %d", bytes, hugePage)
	}
	err := unix.Madvise(block[skip:len(block)-(len(block)-skip)%hugePage], unix.MADV_HUGEPAGE)
	runtime.KeepAlive(block)
	block = nil
	runtime.GC()
	if err != nil {
		return fmt.Errorf("advise the kernel to use huge pages: %w", err)
	}
	return nil
}
