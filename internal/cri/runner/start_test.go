// SPDX-License-Identifier: Apache-2.0

package runner

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A process that waits at the pipe goes on; one that has ended without having been there has not started.
func TestReleaseAnswersToTheProcess(t *testing.T) {
	for name, test := range map[string]struct{ script, file, fails string }{
		"waits at the pipe":        {"echo -n 0 >$0; exec sleep 60", "", ""},
		"is another program later": {"exec 3>$0; echo -n 0 >&3; sleep 0.1; : >$0.ready; exec sleep 60 3>&-", ".ready", ""},
		"ends after it went on":    {"echo -n 0 >$0", "", ""},
		"ends before it is there":  {"exit 1", "", "its process has ended"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), execFIFO)
			if err := unix.Mkfifo(path, 0o600); err != nil {
				t.Fatal(err)
			}
			process := exec.Command("sh", "-c", test.script, path)
			if err := process.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = process.Process.Kill(); _ = process.Wait() }()
			err := (&Runner{}).release(t.Context(), path, process.Process.Pid)
			if test.fails != "" {
				if err == nil || !strings.Contains(err.Error(), test.fails) {
					t.Errorf("got %v, want an error that says %q", err, test.fails)
				}
				return
			}
			if err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(path + test.file); test.file != "" && err != nil {
				t.Errorf("what the process does before it is its program is not waited for: %v", err)
			}
			if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the pipe of a container that runs is still there: %v", err)
			}
		})
	}
}
