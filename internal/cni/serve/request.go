// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"eastwest/internal/cni/entry"
	"eastwest/internal/cni/plugin"
)

// request is what a plugin hands over.
type request struct {
	program               string // as it was called
	process               string // its folder of /proc
	environ               []string
	stdin, stdout, stderr *os.File
}

// name is the plugin's, as for a program of its own.
func (r *request) name() string { return filepath.Base(r.program) }

// call is the request for a plugin.
func (r *request) call() *plugin.Call {
	return &plugin.Call{Program: r.process + "/exe", Dir: r.process + "/cwd", Environ: r.environ, Stdin: r.stdin, Stdout: r.stdout, Stderr: r.stderr}
}

// understood returns what a request has that means something else here than in the process that it comes from.
func (r *request) understood() error {
	call := r.call()
	if call.Getenv("CNI_COMMAND") == "" {
		return errors.New("no call: the program is asked who it is")
	}
	for _, path := range append([]string{call.Getenv("CNI_NETNS")}, filepath.SplitList(call.Getenv("CNI_PATH"))...) {
		if path != "" && !filepath.IsAbs(path) {
			return fmt.Errorf("%q begins in a folder that may not be ours", path)
		}
	}
	return nil
}

func (r *request) close() {
	for _, f := range []*os.File{r.stdin, r.stdout, r.stderr} {
		_ = f.Close() // the second time it is closed already
	}
}

// receive reads a request. The caller closes it.
func receive(conn *net.UnixConn) (*request, error) {
	message, control := make([]byte, entry.Limit), make([]byte, unix.CmsgSpace(3*4))
	n, controls, flags, _, err := conn.ReadMsgUnix(message, control)
	if err != nil {
		return nil, fmt.Errorf("read request: %w", err)
	}
	files, err := descriptors(control[:controls])
	if err != nil {
		return nil, err
	}
	r := &request{stdin: files[0], stdout: files[1], stderr: files[2]}
	if flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		r.close()
		return nil, fmt.Errorf("request of more than %d bytes", entry.Limit)
	}
	r.program, r.environ = parse(message[:n])
	return r, nil
}

// withdrawn says whether the caller waits no more: it does its call itself, or has ended.
func withdrawn(conn *net.UnixConn) bool {
	raw, err := conn.SyscallConn()
	if err != nil {
		return true
	}
	var n int
	var read error
	err = raw.Control(func(fd uintptr) {
		n, _, read = unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
	})
	return err != nil || !errors.Is(read, unix.EAGAIN) || n > 0
}

// parse takes the strings of a request apart: the name that the program was called by, and its environment.
func parse(message []byte) (program string, environ []string) {
	all := strings.Split(strings.TrimSuffix(string(message), "\x00"), "\x00")
	return all[0], all[1:]
}

// descriptors returns the three open files that came with a request, or none and an error.
func descriptors(control []byte) ([]*os.File, error) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return nil, fmt.Errorf("read what comes with a request: %w", err)
	}
	var files []*os.File
	for _, m := range messages {
		numbers, err := unix.ParseUnixRights(&m)
		if err != nil {
			continue // something else
		}
		for _, n := range numbers {
			files = append(files, os.NewFile(uintptr(n), "file of a plugin"))
		}
	}
	if len(files) == 3 {
		return files, nil
	}
	for _, f := range files {
		_ = f.Close()
	}
	return nil, errors.New("request without stdin, stdout and stderr")
}
