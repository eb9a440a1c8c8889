// SPDX-License-Identifier: Apache-2.0

// Package link changes and reads links, addresses, routes and neighbours over one netlink socket per namespace.
//
// A Handle is a socket opened inside a network namespace; it stays there, so that no goroutine has to enter it again.
// Single changes go straight to the embedded netlink handle, several that belong together in a Batch; what the kernel answers in several parts (lists) is asked
// again when the kernel says that it changed meanwhile (NLM_F_DUMP_INTR), so a list is always one consistent state.
package link

import (
	"errors"
	"fmt"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	netnsdo "eastwest/internal/kernel/netns"
)

// Handle is a route netlink socket in one network namespace. The caller closes it with Close.
type Handle struct {
	*netlink.Handle
	fd int // of batches
}

// Open opens a handle in the calling thread's network namespace.
func Open() (*Handle, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open route netlink: %w", err)
	}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		h.Close()
		return nil, fmt.Errorf("open route netlink: %w", err)
	}
	// Answers need not repeat what they are to; an older kernel repeats it.
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1)
	return &Handle{h, fd}, nil
}

// Close closes the handle.
func (h *Handle) Close() {
	h.Handle.Close()
	_ = unix.Close(h.fd)
}

// ErrNotNamespace is that a file is no namespace, such as a pin whose mount is gone.
var ErrNotNamespace = errors.New("not a network namespace")

// OpenAt opens a handle in the namespace at path.
func OpenAt(path string) (*Handle, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open network namespace %s: %w", path, err)
	}
	defer f.Close()
	return OpenIn(f)
}

// OpenIn opens a handle in the namespace that f refers to; f stays the caller's.
func OpenIn(f *os.File) (h *Handle, err error) {
	if !isNamespace(f) {
		return nil, fmt.Errorf("open route netlink in %s: %w", f.Name(), ErrNotNamespace)
	}
	err = netnsdo.DoIn(f, func() (err error) {
		h, err = Open()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open route netlink in %s: %w", f.Name(), err)
	}
	return h, nil
}

func isNamespace(f *os.File) bool {
	var fs unix.Statfs_t
	return unix.Fstatfs(int(f.Fd()), &fs) != nil || fs.Type == unix.NSFS_MAGIC
}

// Do opens a handle in the namespace at path, or in the calling thread's own when path is empty, for the time of fn, whose
// other system calls are made there as well: sysctls are those of the namespace.
func Do(path string, fn func(*Handle) error) error {
	inside := func() error {
		h, err := Open()
		if err != nil {
			return err
		}
		defer h.Close()
		return fn(h)
	}
	if path == "" {
		return inside()
	}
	return netnsdo.Do(path, inside)
}

// Index returns a link's index, for less than LinkByName, which asks for all that there is to know. A link that is not there is an error,
// see IsNotFound.
func (h *Handle) Index(name string) (int, error) {
	request, err := unix.NewIfreq(name)
	if err != nil {
		return 0, fmt.Errorf("link name %q: %w", name, err)
	}
	if err := unix.IoctlIfreq(h.fd, unix.SIOCGIFINDEX, request); err != nil {
		return 0, err
	}
	return int(request.Uint32()), nil
}

// IsNotFound reports whether an error of a Handle means that the link does not exist.
func IsNotFound(err error) bool {
	var notFound netlink.LinkNotFoundError
	return errors.As(err, &notFound) || errors.Is(err, unix.ENODEV)
}
