// SPDX-License-Identifier: Apache-2.0

package proc

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func sleeper(t *testing.T) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd
}

func TestAProcessIsKnownUntilItEnds(t *testing.T) {
	cmd := sleeper(t)
	id, err := Of(cmd.Process.Pid)
	if err != nil || !id.Alive() {
		t.Fatalf("%v, %v", id, err)
	}
	other := ID{PID: id.PID, Started: id.Started - 1}
	if other.Alive() {
		t.Error("a process that had the number before is alive")
	}
	if err := other.Signal(unix.SIGKILL); err != nil || !id.Alive() {
		t.Errorf("a signal to it hit the new one; error %v", err)
	}
	if err := id.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if _, err := Of(id.PID); id.Alive() || !errors.Is(err, ErrGone) {
		t.Errorf("alive after its end: %v", err)
	}
	if err := id.Signal(unix.SIGTERM); err != nil {
		t.Error(err)
	}
}

func TestParseStat(t *testing.T) {
	rest := " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21"
	for _, name := range []string{"(sh)", "(a b)", "(x) Z 1)", "()"} {
		state, started, err := parseStat("7 " + name + rest)
		if err != nil || state != "S" || started != 4711 {
			t.Errorf("%s: %s %d %v", name, state, started, err)
		}
	}
	for _, bad := range []string{"", "7 (sh", "7 (sh) S 1 2"} {
		if _, _, err := parseStat(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add("7 (sh) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21")
	f.Fuzz(func(_ *testing.T, text string) { _, _, _ = parseStat(text) })
}

func TestRecordSurvivesARestartAndDamage(t *testing.T) {
	dir := t.TempDir()
	want := Record{ID: ID{PID: 4711, Started: 12}, Command: []string{"agent", "--x"}}
	if err := want.Save(filepath.Join(dir, "agent.json")); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"empty": "", "cut": `{"pid":4`, "init": `{"pid":1,"started":0}`, "all": `{"pid":-1}`} {
		if err := os.WriteFile(filepath.Join(dir, name+".json"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	records, err := LoadDir(dir)
	if err != nil || len(records) != 1 || records["agent"].ID != want.ID || records["agent"].Command[1] != "--x" {
		t.Errorf("%v, %v", records, err)
	}
	if records, err := LoadDir(filepath.Join(dir, "none")); err != nil || len(records) != 0 {
		t.Errorf("%v, %v", records, err)
	}
}

func TestInsideNeverListsTheHost(t *testing.T) {
	own := map[Namespace]bool{}
	for _, kind := range kinds {
		ns, err := NamespaceAt("/proc/self/ns/" + kind)
		if err != nil {
			t.Fatal(err)
		}
		own[ns] = true
	}
	if found, err := Inside(own); err != nil || len(found) != 0 {
		t.Errorf("%v, %v", found, err)
	}
	file := filepath.Join(t.TempDir(), "net")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := NamespaceAt(file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a plain file is taken for a namespace: %v", err)
	}
}
