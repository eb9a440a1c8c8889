// SPDX-License-Identifier: Apache-2.0

package handover_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"eastwest/internal/dataplane/conformance"
	"eastwest/internal/dataplane/handover"
	"eastwest/internal/dataplane/services/iptables"
	"eastwest/internal/dataplane/services/nftables"
	ipt "eastwest/internal/kernel/iptables"
	"eastwest/internal/kernel/netns"
	"eastwest/internal/kernel/netns/netnstest"
	"eastwest/internal/kernel/nft"
	"eastwest/internal/table"
)

// work is what a process did with the kernel.
type work struct{ reads, writes int }

// countingNft and countingIptables note what is done with the kernel.
type countingNft struct {
	*nft.Conn
	done *work
}

func (c countingNft) Run(ctx context.Context, script string) error {
	c.done.writes++
	return c.Conn.Run(ctx, script)
}

func (c countingNft) Change(ctx context.Context, ops []nft.Op) error {
	c.done.writes++
	return c.Conn.Change(ctx, ops)
}

func (c countingNft) List(ctx context.Context, family nft.Family, table string) (string, error) {
	c.done.reads++
	return c.Conn.List(ctx, family, table)
}

func (c countingNft) Elements(ctx context.Context, family nft.Family, table, set string) ([]nft.Element, error) {
	c.done.reads++
	return c.Conn.Elements(ctx, family, table, set)
}

type countingIptables struct {
	*ipt.Conn
	done *work
}

func (c countingIptables) Restore(ctx context.Context, family ipt.Family, input string) error {
	c.done.writes++
	return c.Conn.Restore(ctx, family, input)
}

func (c countingIptables) Chains(ctx context.Context, family ipt.Family, tables []string, wanted func(string) bool) (map[ipt.Chain][]string, error) {
	c.done.reads++
	return c.Conn.Chains(ctx, family, tables, wanted)
}

// backends are those that hand over, and how another program takes something of theirs away.
var backends = []struct {
	name, program string
	carrier       func(ns string, done *work) (handover.Carrier, handover.Ledger, error)
	damage        string
}{
	{"nftables", "nft", func(ns string, done *work) (handover.Carrier, handover.Ledger, error) {
		conn := nft.New(ns)
		backend, err := nftables.New(nftables.Config{Kernel: countingNft{conn, done}, Log: slog.New(slog.DiscardHandler)})
		return backend, conn.Ledger(nftables.TableName), err
	}, "nft flush map ip eastwest service-ip"},
	{"iptables", "iptables-restore", func(ns string, done *work) (handover.Carrier, handover.Ledger, error) {
		conn := ipt.New(ns)
		backend, err := iptables.New(iptables.Config{Kernel: countingIptables{conn, done}, Log: slog.New(slog.DiscardHandler)})
		return backend, iptables.Ledger(conn), err
	}, "iptables -t nat -F KUBE-SERVICES"},
}

// lab is a kernel and a file, which processes have one after the other.
type lab struct {
	t       *testing.T
	ns      string
	config  handover.Config
	carrier func(ns string, done *work) (handover.Carrier, handover.Ledger, error)
}

// process is one of them.
type process struct {
	*handover.Backend
	t    *testing.T
	done work
	end  func()
}

func (l *lab) start() *process {
	l.t.Helper()
	p := &process{t: l.t}
	carrier, ledger, err := l.carrier(l.ns, &p.done)
	if err != nil {
		l.t.Fatal(err)
	}
	config := l.config
	config.Ledger, config.Log = ledger, slog.New(slog.DiscardHandler)
	p.Backend = handover.Around(carrier, config)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx, func(bool) {}) }()
	p.end = func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			l.t.Errorf("it ended with %v", err)
		}
	}
	return p
}

// run is a process that applies a table and ends.
func (l *lab) run(want table.Table[table.Service]) work {
	l.t.Helper()
	p := l.start()
	p.apply(want, table.Keys{All: true})
	p.end()
	return p.done
}

func (p *process) apply(want table.Table[table.Service], changed table.Keys) {
	p.t.Helper()
	if err := p.Apply(context.Background(), want, changed); err != nil {
		p.t.Fatal(err)
	}
}

// other runs another program.
func (l *lab) other(command string) {
	l.t.Helper()
	words := strings.Fields(command)
	cmd := exec.Command(words[0], words[1:]...)
	if err := netns.Do(l.ns, cmd.Run); err != nil {
		l.t.Fatalf("%s: %v", command, err)
	}
}

// holds wants the kernel to have what a process that begins with an empty one writes.
func (l *lab) holds(want table.Table[table.Service]) {
	l.t.Helper()
	dump := func(ns string, apply bool) string {
		backend, _, err := l.carrier(ns, &work{})
		if err == nil && apply {
			err = backend.Apply(context.Background(), want, table.Keys{All: true})
		}
		if err != nil {
			l.t.Fatal(err)
		}
		text, err := backend.Dump(context.Background())
		if err != nil {
			l.t.Fatal(err)
		}
		return text
	}
	if diff := cmp.Diff(dump(netnstest.New(l.t), true), dump(l.ns, false)); diff != "" {
		l.t.Errorf("kernel (-want +have):\n%s", diff)
	}
}

func each(t *testing.T, play func(t *testing.T, l *lab, damage string)) {
	for _, b := range backends {
		t.Run(b.name, func(t *testing.T) {
			netnstest.RequireProgram(t, b.program)
			play(t, &lab{t: t, ns: netnstest.New(t), carrier: b.carrier, config: handover.Config{
				File: filepath.Join(t.TempDir(), "run", "image"), Place: "here", Form: "this",
			}}, b.damage)
		})
	}
}

// without returns the table without the last endpoint of a Service.
func without(rows table.Table[table.Service], key string) table.Table[table.Service] {
	row, _ := rows.Get(key)
	row.Frontends = append([]table.Frontend(nil), row.Frontends...)
	f := &row.Frontends[0]
	f.Endpoints = f.Endpoints[:len(f.Endpoints)-1]
	return rows.With(map[string]table.Service{key: row})
}

var nothing = work{}

// A process that follows another one reads nothing and writes what changed meanwhile, and goes on from there.
func TestNextProcessGoesOn(t *testing.T) {
	each(t, func(t *testing.T, l *lab, _ string) {
		want := conformance.Numbered(20, 3)
		l.run(want)
		for range 3 {
			if done := l.run(want); done != nothing {
				t.Errorf("with everything in place it did %+v", done)
			}
		}
		l.holds(want)
		want = without(want.With(nil, "default/s3"), "default/s4")
		more, _ := conformance.Numbered(21, 3).Get("default/s20")
		want = want.With(map[string]table.Service{"default/s20": more})
		p := l.start()
		p.apply(want, table.Keys{All: true})
		if p.done.reads > 0 || p.done.writes == 0 || p.done.writes > 2 {
			t.Errorf("with three services changed it did %+v", p.done)
		}
		l.holds(want)
		want = without(want, "default/s5")
		p.apply(want, table.Keys{Names: []string{"default/s5"}})
		l.holds(want)
		p.end()
		if done := l.run(want); done != nothing {
			t.Errorf("with everything in place it did %+v", done)
		}
		p = l.start()
		p.apply(want, table.Keys{All: true})
		p.apply(want, table.Keys{All: true})
		if p.done.reads == 0 || p.done.writes > 0 {
			t.Errorf("asked to compare everything it did %+v", p.done)
		}
		p.end()
	})
}

// What another program does meanwhile is found and mended, whether it touched what is ours or something else.
func TestKernelChangedMeanwhile(t *testing.T) {
	each(t, func(t *testing.T, l *lab, damage string) {
		want := conformance.Numbered(20, 3)
		for _, command := range []string{damage, "nft add table ip theirs", "nft flush ruleset"} {
			l.run(want)
			l.other(command)
			if done := l.run(want); done.reads == 0 || done.writes == 0 != strings.Contains(command, "theirs") {
				t.Errorf("after %q it did %+v", command, done)
			}
			l.holds(want)
		}
		// The same while a process is at work: only what touches nothing of ours leaves it sure.
		for _, command := range []string{"nft add table ip more", damage} {
			p := l.start()
			p.apply(want, table.Keys{All: true})
			l.other(command)
			p.end()
			if done := l.run(want); (done != nothing) != (command == damage) {
				t.Errorf("after %q of a process at work the next did %+v", command, done)
			}
			l.holds(want)
		}
	})
}

// A process that is killed leaves what it left before, which is worth nothing after its next change, and all before.
func TestKilled(t *testing.T) {
	each(t, func(t *testing.T, l *lab, _ string) {
		want := conformance.Numbered(20, 3)
		l.run(want)
		left, err := os.ReadFile(l.config.File)
		if err != nil {
			t.Fatal(err)
		}
		kill := func(change bool) {
			p := l.start()
			p.apply(want, table.Keys{All: true})
			if change {
				want = without(want, "default/s5")
				p.apply(want, table.Keys{Names: []string{"default/s5"}})
			}
			p.end()
			if err := os.WriteFile(l.config.File, left, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		kill(false)
		if done := l.run(want); done != nothing {
			t.Errorf("after one that had changed nothing it did %+v", done)
		}
		kill(true)
		if done := l.run(want); done.reads == 0 || done.writes > 0 {
			t.Errorf("after one that had changed something it did %+v", done)
		}
		l.holds(want)
	})
}

// What is not whole, or not known to be true here, is worth nothing.
func TestWorthlessFiles(t *testing.T) {
	each(t, func(t *testing.T, l *lab, _ string) {
		want := conformance.Numbered(20, 3)
		file, config := l.config.File, l.config
		change := func(edit func(data []byte) []byte) func() error {
			return func() error {
				data, err := os.ReadFile(file)
				return errors.Join(err, os.WriteFile(file, edit(data), 0o600))
			}
		}
		for what, spoil := range map[string]func() error{
			"missing":              func() error { return os.Remove(file) },
			"empty":                func() error { return os.Truncate(file, 0) },
			"half written":         change(func(data []byte) []byte { return data[:len(data)/2] }),
			"damaged":              change(func(data []byte) []byte { data[len(data)-9] ^= 1; return data }),
			"of others":            func() error { return os.Chown(file, 1, 1) },
			"writable for others":  func() error { return os.Chmod(file, 0o620) },
			"a link":               func() error { return errors.Join(os.Rename(file, file+"2"), os.Symlink(file+"2", file)) },
			"a folder":             func() error { return errors.Join(os.Remove(file), os.Mkdir(file, 0o700)) },
			"of another boot":      func() error { l.config.Place = "elsewhere"; return nil },
			"of other settings":    func() error { l.config.Form = "that"; return nil },
			"not asked for at all": func() error { l.config.File = ""; return nil },
		} {
			l.run(want)
			if err := spoil(); err != nil {
				t.Fatal(err)
			}
			if done := l.run(want); done.reads == 0 || done.writes > 0 {
				t.Errorf("%s: it did %+v", what, done)
			}
			l.config = config
			_ = os.Remove(file)
		}
		l.run(want)
		if info, err := os.Stat(file); err != nil || info.Mode() != 0o600 {
			t.Errorf("%v, the file has mode %v", err, info.Mode())
		}
		if entries, err := os.ReadDir(filepath.Dir(file)); err != nil || len(entries) > 2 { // and what the link led to
			t.Errorf("%v, beside the file there are %v", err, entries)
		}
	})
}

// While rows are tried the kernel has what no table says.
func TestNothingIsLeftOfTrials(t *testing.T) {
	each(t, func(t *testing.T, l *lab, _ string) {
		want, trial := conformance.Numbered(20, 3), conformance.Numbered(21, 3)
		p := l.start()
		p.apply(want, table.Keys{All: true})
		try, err := p.Probe(t.Context())
		row, _ := trial.Get("default/s20")
		if err == nil {
			err = try(t.Context(), []table.Service{row})
		}
		if err != nil {
			t.Fatal(err)
		}
		p.end()
		if done := l.run(want); done.reads == 0 || done.writes == 0 {
			t.Errorf("after a trial it did %+v", done)
		}
		l.holds(want)
	})
}
