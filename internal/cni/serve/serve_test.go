// SPDX-License-Identifier: Apache-2.0

package serve_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"eastwest/internal/cni/entry"
	"eastwest/internal/cni/plugin"
	"eastwest/internal/cni/program"
	"eastwest/internal/cni/serve"
	"eastwest/internal/kernel/netns/netnstest"
)

// node is a server of plugins, and what it was called for.
type node struct {
	t     *testing.T
	mu    sync.Mutex
	calls []string // verb and container
	stop  func()   // ends the server and waits for its end
}

// serving starts a server that has do do the calls.
func serving(t *testing.T, do func(context.Context, string, *plugin.Call) int) *node {
	t.Helper()
	n := &node{t: t}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- serve.Run(ctx, serve.Config{Log: slog.New(slog.DiscardHandler), Main: func(ctx context.Context, name string, call *plugin.Call) int {
			n.mu.Lock()
			n.calls = append(n.calls, call.Getenv("CNI_COMMAND")+" "+call.Getenv("CNI_CONTAINERID"))
			n.mu.Unlock()
			return do(ctx, name, call)
		}})
	}()
	n.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the server ended with %v", err)
		}
	})
	t.Cleanup(n.stop)
	await(t, "a socket", func() bool { _, err := os.Stat(entry.Socket); return err == nil })
	return n
}

func plain(ctx context.Context, name string, call *plugin.Call) int {
	return program.Plugins().Main(ctx, name, "", call)
}

func await(t *testing.T, what string, there func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !there(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no %s", what)
		}
	}
}

// served returns the calls that the server did since it was asked last.
func (n *node) served() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := n.calls
	n.calls = nil
	return out
}

// calling is a plugin that is to be called.
func calling(name, verb, container, stdin string) *exec.Cmd {
	c := exec.Command(filepath.Join(plugins, name))
	c.Stdin = strings.NewReader(stdin)
	c.Env = []string{"PATH=" + os.Getenv("PATH"), "CNI_COMMAND=" + verb, "CNI_CONTAINERID=" + container, "CNI_IFNAME=eth0", "CNI_PATH=" + plugins}
	return c
}

// said runs a plugin and returns what it printed, and its exit code.
func said(t *testing.T, c *exec.Cmd) (stdout string, code int) {
	t.Helper()
	out, err := c.Output()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		t.Fatal(err)
	}
	return string(out), c.ProcessState.ExitCode()
}

func failure(t *testing.T, out string) (code uint, message string) {
	t.Helper()
	var told struct {
		Code uint
		Msg  string
	}
	if err := json.Unmarshal([]byte(out), &told); err != nil {
		t.Fatalf("no error of the specification: %q: %v", out, err)
	}
	return told.Code, told.Msg
}

func conf(leases string) string {
	return fmt.Sprintf(`{"cniVersion": "1.0.0", "name": "net", "type": "ptp", "ipam": {"type": "host-local", "dataDir": %q, "ranges": [[{"subnet": "10.9.0.0/24"}]]}}`, leases)
}

// A container is attached, checked and detached by the server as it is by the plugin itself, which goes on with what the
// server made when that is gone.
func TestAttachment(t *testing.T) {
	n := serving(t, plain)
	leases, sandbox := t.TempDir(), netnstest.New(t)
	do := func(verb, stdin string) (string, int) {
		c := calling("ptp", verb, "one", stdin)
		c.Env = append(c.Env, "CNI_NETNS="+sandbox)
		return said(t, c)
	}
	result, code := do("ADD", conf(leases))
	if code != 0 || !strings.Contains(result, `"address": "10.9.0.2/24"`) {
		t.Fatalf("ADD ended with %d: %s", code, result)
	}
	checked := strings.TrimSuffix(conf(leases), "}") + `, "prevResult": ` + result + "}"
	if out, code := do("CHECK", checked); code != 0 {
		t.Fatalf("CHECK ended with %d: %s", code, out)
	}
	if out, code := do("ADD", conf(leases)); code != 1 || !strings.Contains(out, "ptp ADD") {
		t.Fatalf("a second ADD ended with %d: %s", code, out)
	}
	if got := n.served(); len(got) != 3 {
		t.Fatalf("the server did %q", got)
	}
	n.stop()
	if out, code := do("CHECK", checked); code != 0 {
		t.Fatalf("alone, CHECK ended with %d: %s", code, out)
	}
	if out, code := do("DEL", conf(leases)); code != 0 {
		t.Fatalf("alone, DEL ended with %d: %s", code, out)
	}
	if left, err := filepath.Glob(filepath.Join(leases, "net", "10.*")); err != nil || len(left) > 0 || len(n.served()) > 0 {
		t.Fatalf("left is %q, %v", left, err)
	}
}

// What a call brings with it is the caller's: environment, working directory, stdin and both outputs.
func TestCallersOwn(t *testing.T) {
	n := serving(t, func(ctx context.Context, name string, call *plugin.Call) int {
		var stdin bytes.Buffer
		_, _ = stdin.ReadFrom(call.Stdin)
		here, err := os.ReadFile(call.Path("here"))
		fmt.Fprintf(call.Stdout, "%s %s %q %q %s %v", name, call.Getenv("CNI_ARGS"), call.Getenv("NOTHING"), stdin.String(), here, err)
		fmt.Fprint(call.Stderr, "aside")
		return 7
	})
	c := calling("tuning", "ADD", "one", "input")
	c.Env = append(c.Env, "NOTHING=", "CNI_ARGS=first", "CNI_ARGS=a=b;c=d e")
	c.Dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(c.Dir, "here"), []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, code := said(t, c)
	if want := `tuning a=b;c=d e "" "input" content <nil>`; out != want || stderr.String() != "aside" || code != 7 {
		t.Fatalf("got %q, %q and %d, want %q", out, stderr.String(), code, want)
	}
	if got := n.served(); len(got) != 1 {
		t.Fatalf("the server did %q", got)
	}
}

// What a call says arrives whole, also where it is longer than an answer.
func TestLongAnswers(t *testing.T) {
	length := 0
	n := serving(t, func(_ context.Context, _ string, call *plugin.Call) int {
		fmt.Fprint(call.Stdout, strings.Repeat("x", length))
		return 3
	})
	for _, length = range []int{0, 1, entry.Limit, entry.Limit + 1, 4 * entry.Limit} {
		if out, code := said(t, calling("ptp", "ADD", "one", "")); len(out) != length || code != 3 {
			t.Errorf("of %d bytes arrive %d, with code %d", length, len(out), code)
		}
	}
	if got := n.served(); len(got) != 5 {
		t.Errorf("the server did %q", got)
	}
}

// Whoever is elsewhere or not root does the call itself, and so does a caller whose paths or environment cannot be had here.
func TestNotOurs(t *testing.T) {
	n := serving(t, plain)
	for name, change := range map[string]func(*exec.Cmd){
		"another network": func(c *exec.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET} },
		"other mounts":    func(c *exec.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS} },
		"another user": func(c *exec.Cmd) {
			c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		},
		"relative path": func(c *exec.Cmd) { c.Env = append(c.Env, "CNI_PATH=here") },
		"no call":       func(c *exec.Cmd) { c.Env = append(c.Env, "CNI_COMMAND=") },
		"environment": func(c *exec.Cmd) {
			for i := range 4 {
				c.Env = append(c.Env, fmt.Sprintf("LONG%d=%s", i, strings.Repeat("x", entry.Limit/3)))
			}
		},
		"argument": func(c *exec.Cmd) { c.Args = append(c.Args, "more") },
	} {
		t.Run(name, func(t *testing.T) {
			c := calling("loopback", "VERSION", "one", "")
			change(c)
			if out, code := said(t, c); code != 0 || (name != "no call" && !strings.Contains(out, "1.1.0")) {
				t.Errorf("it ended with %d: %s", code, out)
			}
			if got := n.served(); len(got) != 0 {
				t.Errorf("the server did %q", got)
			}
		})
	}
}

// A call that panics fails alone.
func TestPanic(t *testing.T) {
	serving(t, func(ctx context.Context, name string, call *plugin.Call) int {
		if call.Getenv("CNI_CONTAINERID") == "bad" {
			panic("no such thing")
		}
		return plain(ctx, name, call)
	})
	out, code := said(t, calling("loopback", "DEL", "bad", "{}"))
	if number, message := failure(t, out); code != 1 || number != 999 || !strings.Contains(message, "loopback DEL of container bad interface eth0: no such thing") {
		t.Fatalf("it ended with %d: %s", code, out)
	}
	if out, code := said(t, calling("loopback", "VERSION", "good", "")); code != 0 {
		t.Fatalf("the next ended with %d: %s", code, out)
	}
}

// When the caller is killed its call is told, and the next one of the same container waits for its end.
func TestCallerKilled(t *testing.T) {
	begun, told, end := make(chan bool, 1), make(chan bool), make(chan bool)
	n := serving(t, func(ctx context.Context, name string, call *plugin.Call) int {
		if call.Getenv("CNI_COMMAND") == "ADD" {
			begun <- true
			<-ctx.Done()
			told <- true
			<-end
		}
		return 0
	})
	first := calling("ptp", "ADD", "one", "")
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	<-begun
	_ = first.Process.Kill()
	_ = first.Wait()
	<-told
	second := make(chan int)
	go func() { _, code := said(t, calling("ptp", "DEL", "one", "")); second <- code }()
	if _, code := said(t, calling("ptp", "DEL", "two", "")); code != 0 {
		t.Fatal("another container does not get its turn")
	}
	if got := n.served(); len(got) != 2 || got[1] != "DEL two" {
		t.Fatalf("the server did %q", got)
	}
	end <- true
	if code := <-second; code != 0 {
		t.Fatalf("the next call ended with %d", code)
	}
}

// A call that runs when the server ends is finished.
func TestEnd(t *testing.T) {
	begun, end := make(chan bool, 1), make(chan bool)
	n := serving(t, func(context.Context, string, *plugin.Call) int {
		begun <- true
		<-end
		return 5
	})
	code := make(chan int)
	go func() { _, c := said(t, calling("ptp", "ADD", "one", "")); code <- c }()
	<-begun
	stopped := make(chan bool)
	go func() { n.stop(); close(stopped) }()
	await(t, "end of the socket", func() bool { _, err := os.Stat(entry.Socket); return os.IsNotExist(err) })
	end <- true
	if got := <-code; got != 5 {
		t.Fatalf("it ended with %d", got)
	}
	<-stopped
}

// One server at a time.
func TestSecondServer(t *testing.T) {
	n := serving(t, plain)
	err := serve.Run(context.Background(), serve.Config{Log: slog.New(slog.DiscardHandler), Main: plain})
	if err == nil || !strings.Contains(err.Error(), "another server of CNI plugins serves there") {
		t.Fatalf("a second server ended with %v", err)
	}
	if _, code := said(t, calling("loopback", "VERSION", "one", "")); code != 0 || len(n.served()) != 1 {
		t.Fatal("the first one serves no more")
	}
}

// A caller that said that it waits no more, before its turn came, is left to do the call itself.
func TestWithdrawn(t *testing.T) {
	begun, end := make(chan bool, 1), make(chan bool)
	n := serving(t, func(context.Context, string, *plugin.Call) int {
		begun <- true
		<-end
		return 0
	})
	first := calling("ptp", "ADD", "one", "")
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	<-begun
	conn, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: entry.Socket, Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	request := "/bin/ptp\x00CNI_COMMAND=DEL\x00CNI_CONTAINERID=one\x00CNI_IFNAME=eth0"
	if _, _, err := conn.WriteMsgUnix([]byte(request), unix.UnixRights(0, 1, 2), nil); err != nil {
		t.Fatal(err)
	}
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	end <- true
	var answer [8]byte
	if size, err := conn.Read(answer[:]); err != nil || size != len(answer) || binary.NativeEndian.Uint32(answer[:]) != entry.Declined {
		t.Errorf("answered %v, %d, %v", answer, size, err)
	}
	if err := first.Wait(); err != nil {
		t.Error(err)
	}
	if got := n.served(); len(got) != 1 {
		t.Errorf("the server did %q", got)
	}
}
