// SPDX-License-Identifier: Apache-2.0

package shutdown

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

// logind and systemd on the system's message bus. https://www.freedesktop.org/software/systemd/man/org.freedesktop.login1.html
const (
	loginName    = "org.freedesktop.login1"
	loginPath    = dbus.ObjectPath("/org/freedesktop/login1")
	loginManager = "org.freedesktop.login1.Manager"
	prepare      = "PrepareForShutdown"

	systemdName    = "org.freedesktop.systemd1"
	systemdPath    = dbus.ObjectPath("/org/freedesktop/systemd1")
	systemdManager = "org.freedesktop.systemd1.Manager"
)

// confFile is the file of a kubelet's for the longest delay.
const confFile = "99-kubelet.conf"

// Pauses before the bus is asked again, and how long logind may take to read its configuration.
const (
	firstPause = time.Second
	lastPause  = time.Minute
	reloadWait = 5 * time.Second
	reloadLook = 50 * time.Millisecond
)

// Logind follows the machine's login manager, which says when the machine goes down and delays that.
type Logind struct {
	// Dial connects to the system's bus; nil for where it usually is.
	Dial func() (*dbus.Conn, error)
	// ConfDir is where logind reads further configuration; /etc/systemd/logind.conf.d when empty.
	ConfDir string
	Log     *slog.Logger

	lock  int  // the inhibitor's descriptor; 0 for none
	begun bool // logind said that the machine goes down
}

// Follow tells m what logind says until ctx ends.
func (l *Logind) Follow(ctx context.Context, m *Manager) {
	defer l.release()
	last, pause := "", firstPause
	for ctx.Err() == nil {
		begin := time.Now()
		err := l.follow(ctx, m)
		if ctx.Err() != nil {
			return
		}
		if text := err.Error(); text != last { // a machine without logind says so once
			last = text
			l.Log.Warn("the machine's shutdown is not followed: pods end with it, without their grace period", "error", err)
		}
		if pause = min(2*pause, lastPause); time.Since(begin) > lastPause {
			pause = firstPause
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// follow works as long as the connection lasts.
func (l *Logind) follow(ctx context.Context, m *Manager) error {
	dial := l.Dial
	if dial == nil {
		dial = func() (*dbus.Conn, error) { return dbus.ConnectSystemBus() }
	}
	conn, err := dial()
	if err != nil {
		return fmt.Errorf("connect to the system's message bus: %w", err)
	}
	defer conn.Close()
	login := conn.Object(loginName, loginPath)
	signals := make(chan *dbus.Signal, 16)
	conn.Signal(signals)
	if err := conn.AddMatchSignal(dbus.WithMatchInterface(loginManager), dbus.WithMatchMember(prepare), dbus.WithMatchObjectPath(loginPath)); err != nil {
		return fmt.Errorf("follow logind: %w", err)
	}
	if err := l.delay(ctx, conn, login, m.config.Periods); err != nil {
		return err
	}
	var done <-chan struct{}
	if under, err := login.GetProperty(loginManager + ".PreparingForShutdown"); err == nil && under.Value() == true {
		done = l.begin(ctx, m) // it began while nobody listened
	} else if err := l.resume(login, m); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-done:
			l.release()
			done = nil
		case signal, ok := <-signals:
			if !ok {
				return errors.New("the system's message bus closed the connection")
			}
			switch going, told := told(signal); {
			case told && going:
				done = l.begin(ctx, m)
			case told:
				done = nil
				if err := l.resume(login, m); err != nil {
					return err
				}
			}
		}
	}
}

func (l *Logind) begin(ctx context.Context, m *Manager) <-chan struct{} {
	l.begun = true
	return m.Begin(ctx)
}

// resume has the node go on when logind had said that the machine goes down, and delays the next time.
func (l *Logind) resume(login dbus.BusObject, m *Manager) error {
	if l.begun {
		l.begun = false
		m.Cancel()
	}
	return l.inhibit(login)
}

// told reads what logind says: that the machine goes down, or does not.
func told(signal *dbus.Signal) (going, ok bool) {
	if signal == nil || signal.Name != loginManager+"."+prepare || len(signal.Body) != 1 {
		return false, false
	}
	going, ok = signal.Body[0].(bool)
	return going, ok
}

// inhibit takes the lock that delays the machine's shutdown, and gives an earlier one back.
func (l *Logind) inhibit(login dbus.BusObject) error {
	var fd dbus.UnixFD
	err := login.Call(loginManager+".Inhibit", 0, "shutdown", "kubelet", "Kubelet needs time to handle node shutdown", "delay").Store(&fd)
	if err != nil {
		return fmt.Errorf("have logind delay the machine's shutdown: %w", err)
	}
	unix.CloseOnExec(int(fd))
	l.release()
	l.lock = int(fd)
	return nil
}

// release lets the machine go down.
func (l *Logind) release() {
	if l.lock != 0 {
		_ = unix.Close(l.lock)
		l.lock = 0
	}
}

// delay sees to it that logind waits for as long as pods may take: by its configuration, where that says less.
func (l *Logind) delay(ctx context.Context, conn *dbus.Conn, login dbus.BusObject, periods Periods) error {
	now, err := longest(login)
	if err != nil || now >= periods.Total() {
		return err
	}
	want := periods.Total() + time.Duration(len(periods))*slack
	if err := l.configure(want); err != nil {
		return err
	}
	call := conn.Object(systemdName, systemdPath).CallWithContext(ctx, systemdManager+".KillUnit", 0, "systemd-logind.service", "all", int32(unix.SIGHUP))
	if call.Err != nil {
		return fmt.Errorf("have logind read its configuration: %w", call.Err)
	}
	for deadline := time.Now().Add(reloadWait); now < periods.Total(); {
		if time.Now().After(deadline) {
			return fmt.Errorf("logind delays the machine's shutdown by at most %s, although %s says %s: restart systemd-logind", now, l.conf(), want)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(reloadLook):
		}
		if now, err = longest(login); err != nil {
			return err
		}
	}
	return nil
}

func longest(login dbus.BusObject) (time.Duration, error) {
	value, err := login.GetProperty(loginManager + ".InhibitDelayMaxUSec")
	if err != nil {
		return 0, fmt.Errorf("ask logind how long it delays the machine's shutdown: %w", err)
	}
	microseconds, ok := value.Value().(uint64)
	if !ok {
		return 0, fmt.Errorf("ask logind how long it delays the machine's shutdown: it says %s", value)
	}
	return time.Duration(microseconds) * time.Microsecond, nil
}

func (l *Logind) conf() string {
	dir := l.ConfDir
	if dir == "" {
		dir = "/etc/systemd/logind.conf.d"
	}
	return filepath.Join(dir, confFile)
}

func (l *Logind) configure(delay time.Duration) error {
	text := fmt.Sprintf("# So that pods can end before the machine does: the agent's --shutdown-grace-period.\n[Login]\nInhibitDelayMaxSec=%.0f\n", delay.Seconds())
	err := os.MkdirAll(filepath.Dir(l.conf()), 0o755)
	if err == nil {
		err = os.WriteFile(l.conf(), []byte(text), 0o644)
	}
	if err != nil {
		return fmt.Errorf("configure logind's longest delay: %w", err)
	}
	return nil
}
