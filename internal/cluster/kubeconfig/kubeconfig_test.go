// SPDX-License-Identifier: Apache-2.0

package kubeconfig

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

func config(current string, names ...string) *api.Config {
	c := api.NewConfig()
	for _, name := range names {
		c.Clusters[name] = &api.Cluster{Server: "https://" + name}
		c.AuthInfos[name] = &api.AuthInfo{Token: name}
		c.Contexts[name] = &api.Context{Cluster: name, AuthInfo: name}
	}
	c.CurrentContext = current
	return c
}

// shape reduces a file to what a person sees: contexts with server and token, and the current one.
func shape(t *testing.T, file string) map[string]string {
	t.Helper()
	c, err := clientcmd.LoadFromFile(file)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{"current": c.CurrentContext}
	for name, context := range c.Contexts {
		seen[name] = c.Clusters[context.Cluster].Server + " " + c.AuthInfos[context.AuthInfo].Token
	}
	return seen
}

func write(t *testing.T, c *api.Config) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config")
	if err := clientcmd.WriteToFile(*c, file); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestMergeKeepsOthersAndBecomesCurrent(t *testing.T) {
	target := write(t, config("work", "work"))
	created, err := Merge(write(t, config("admin", "admin")), target, "eastwest-a")
	if err != nil || created {
		t.Fatalf("created %v, error %v", created, err)
	}
	want := map[string]string{"current": "eastwest-a", "work": "https://work work", "eastwest-a": "https://admin admin"}
	if diff := cmp.Diff(want, shape(t, target)); diff != "" {
		t.Error(diff)
	}
	if err := Remove(target, "eastwest-a", true); err != nil {
		t.Fatal(err)
	}
	want = map[string]string{"current": "", "work": "https://work work"}
	if diff := cmp.Diff(want, shape(t, target)); diff != "" {
		t.Error(diff)
	}
}

func TestMergeReplacesAnOlderClusterOfTheName(t *testing.T) {
	target := write(t, config("eastwest-a", "eastwest-a"))
	if _, err := Merge(write(t, config("admin", "admin")), target, "eastwest-a"); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"current": "eastwest-a", "eastwest-a": "https://admin admin"}
	if diff := cmp.Diff(want, shape(t, target)); diff != "" {
		t.Error(diff)
	}
}

func TestFileThatWeCreatedGoesAgain(t *testing.T) {
	target := filepath.Join(t.TempDir(), "new", "config")
	created, err := Merge(write(t, config("admin", "admin")), target, "eastwest-a")
	if err != nil || !created {
		t.Fatalf("created %v, error %v", created, err)
	}
	info, err := os.Stat(target)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, error %v", info.Mode(), err)
	}
	for range 2 {
		if err := Remove(target, "eastwest-a", true); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(target); !os.IsNotExist(err) {
		t.Errorf("the file is still there: %v", err)
	}
}

func TestRemoveLeavesAFileWithoutOurContextUntouched(t *testing.T) {
	target := filepath.Join(t.TempDir(), "config")
	text := "# mine\napiVersion: v1\nkind: Config\n"
	if err := os.WriteFile(target, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Remove(target, "eastwest-a", false); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(target); string(got) != text {
		t.Errorf("changed to %q", got)
	}
}

func TestFile(t *testing.T) {
	dir := t.TempDir()
	there := filepath.Join(dir, "there")
	if err := os.WriteFile(there, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for list, want := range map[string]string{
		"":                          "/home/me/.kube/config",
		dir + "/no":                 dir + "/no",
		dir + "/no:" + there:        there,
		dir + "/no:" + dir + "/no2": dir + "/no2",
		":" + there + ":":           there,
	} {
		if got := File(list, "/home/me"); got != want {
			t.Errorf("File(%q) = %q, want %q", list, got, want)
		}
	}
}
