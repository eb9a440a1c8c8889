// SPDX-License-Identifier: Apache-2.0

// Package loginddouble is a login manager for tests, on a message bus of its own that Debian's dbus-daemon carries: it hands out inhibitors,
// and says that the machine goes down.
package loginddouble

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/godbus/dbus/v5/prop"
)

const (
	name    = "org.freedesktop.login1"
	path    = dbus.ObjectPath("/org/freedesktop/login1")
	manager = "org.freedesktop.login1.Manager"
)

const busConfig = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path=%s</listen>
  <auth>EXTERNAL</auth>
  <policy context="default"><allow user="*"/><allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/></policy>
</busconfig>
`

// Logind is the login manager.
type Logind struct {
	address string
	conn    *dbus.Conn
	stop    func()
	props   *prop.Properties

	mu    sync.Mutex
	locks []*os.File // our ends of the inhibitors' pipes
	asked []string   // what, who, why, mode of the last inhibitor
	delay func() time.Duration
}

// Start runs a bus in dir and a login manager on it, which delays a shutdown by at most delay; asked to read its configuration again, by what
// reload then says.
func Start(ctx context.Context, dir string, delay time.Duration, reload func() time.Duration) (*Logind, error) {
	socket, config := filepath.Join(dir, "bus"), filepath.Join(dir, "bus.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, busConfig, socket), 0o600); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	daemon := exec.CommandContext(ctx, "dbus-daemon", "--nofork", "--print-address", "--config-file="+config)
	out, err := daemon.StdoutPipe()
	if err == nil {
		err = daemon.Start()
	}
	if err != nil {
		cancel()
		return nil, fmt.Errorf("start dbus-daemon: %w", err)
	}
	l := &Logind{delay: reload, stop: func() { cancel(); _ = daemon.Wait() }}
	line, err := bufio.NewReader(out).ReadString('\n')
	l.address = strings.TrimSpace(line)
	if err == nil {
		err = l.serve(delay)
	}
	if err != nil {
		l.stop()
		return nil, fmt.Errorf("serve on the bus: %w", err)
	}
	return l, nil
}

func (l *Logind) serve(delay time.Duration) error {
	var err error
	if l.conn, err = dbus.Connect(l.address); err != nil {
		return err
	}
	value := func(v any) *prop.Prop { return &prop.Prop{Value: v, Emit: prop.EmitFalse} }
	l.props, err = prop.Export(l.conn, path, prop.Map{manager: {
		"InhibitDelayMaxUSec": value(uint64(delay.Microseconds())), "PreparingForShutdown": value(false)}})
	if err == nil {
		err = l.conn.Export(login{l}, path, manager)
	}
	if err == nil {
		err = l.conn.Export(systemd{l}, "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager")
	}
	for _, n := range []string{name, "org.freedesktop.systemd1"} {
		if err == nil {
			_, err = l.conn.RequestName(n, dbus.NameFlagDoNotQueue)
		}
	}
	return err
}

// Dial connects another to the bus.
func (l *Logind) Dial() (*dbus.Conn, error) { return dbus.Connect(l.address) }

// Stop ends the bus with all on it.
func (l *Logind) Stop() {
	_ = l.conn.Close()
	l.stop()
}

// PrepareForShutdown says that the machine goes down, or does not after all.
func (l *Logind) PrepareForShutdown(going bool) error {
	l.props.SetMust(manager, "PreparingForShutdown", going)
	return l.conn.Emit(path, manager+".PrepareForShutdown", going)
}

// Asked returns what the last inhibitor was asked for with: what, who, why and mode.
func (l *Logind) Asked() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.asked
}

// Held says whether anybody delays the shutdown.
func (l *Logind) Held() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.locks {
		// The end of the pipe is read when every copy of the other end is closed.
		_ = f.SetReadDeadline(time.Now().Add(time.Millisecond))
		if _, err := f.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			return true
		}
	}
	return false
}

// login is what callers of the bus may call.
type login struct{ l *Logind }

// Inhibit hands out a lock: the write end of a pipe.
func (i login) Inhibit(what, who, why, mode string) (dbus.UnixFD, *dbus.Error) {
	if i.l.props.GetMust(manager, "PreparingForShutdown") == true {
		return 0, dbus.NewError(name+".OperationInProgress", []any{"the machine goes down already"})
	}
	r, w, err := os.Pipe()
	if err != nil {
		return 0, dbus.MakeFailedError(err)
	}
	i.l.mu.Lock()
	i.l.locks, i.l.asked = append(i.l.locks, r), []string{what, who, why, mode}
	i.l.mu.Unlock()
	// The bus copies the descriptor while it sends the answer, after which ours has to be closed.
	time.AfterFunc(200*time.Millisecond, func() { _ = w.Close() })
	return dbus.UnixFD(w.Fd()), nil
}

type systemd struct{ l *Logind }

// KillUnit has the login manager read its configuration.
func (s systemd) KillUnit(unit, who string, signal int32) *dbus.Error {
	if unit != "systemd-logind.service" || s.l.delay == nil {
		return dbus.MakeFailedError(fmt.Errorf("no unit %s", unit))
	}
	s.l.props.SetMust(manager, "InhibitDelayMaxUSec", uint64(s.l.delay().Microseconds()))
	return nil
}
