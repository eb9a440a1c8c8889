// SPDX-License-Identifier: Apache-2.0

package network

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// A plugin that answers what came before, as portmap does, and writes down that it was started.
const scribe = `#!/bin/sh
echo "$CNI_COMMAND" >>"$(dirname "$0")/started"
test "$CNI_COMMAND" = DEL || sed 's/.*"prevResult":\({.*}\)}$/\1/'
`

const result = `{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","sandbox":"/run/netns/x"}],"ips":[{"address":"10.244.0.7/24","interface":0}]}`

// Our own portmap is not started for a pod without ports, and the pod's result is the same; with ports, with a configuration that is wrong, for
// other verbs, and in place of somebody else's program, it is.
func TestPortmapWithNothingToMap(t *testing.T) {
	const ports = `"runtimeConfig":{"portMappings":[{"hostPort":80,"containerPort":80,"protocol":"tcp"}]},`
	for _, c := range []struct {
		name, command, extra string
		foreign, started     bool
	}{
		{name: "nothing to map", command: "ADD"},
		{name: "nothing to remove", command: "DEL"},
		{name: "other keys", command: "ADD", extra: `"snat":false,"backend":"nftables","runtimeConfig":{"portMappings":[]},`},
		{name: "a port", command: "ADD", extra: ports, started: true},
		{name: "a port to remove", command: "DEL", extra: ports, started: true},
		{name: "a check", command: "CHECK", started: true},
		{name: "a collection", command: "GC", started: true},
		{name: "a wrong key", command: "ADD", extra: `"markMasqBit":99,`, started: true},
		{name: "an unknown backend", command: "DEL", extra: `"backend":"smoke",`, started: true},
		{name: "somebody else's", command: "ADD", foreign: true, started: true},
		{name: "somebody else's end", command: "DEL", foreign: true, started: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "portmap")
			if err := os.WriteFile(path, []byte(scribe), 0o755); err != nil {
				t.Fatal(err)
			}
			if !c.foreign {
				if err := os.Link(path, filepath.Join(dir, ownName)); err != nil {
					t.Fatal(err)
				}
			}
			conf := fmt.Sprintf(`{"cniVersion":"1.0.0","name":"net","type":"portmap",%s"prevResult":%s}`, c.extra, result)
			out, err := (&programs{}).ExecPlugin(context.Background(), path, []byte(conf), []string{"PATH=" + os.Getenv("PATH"), "CNI_COMMAND=" + c.command})
			if err != nil {
				t.Fatal(err)
			}
			if said, _ := os.ReadFile(filepath.Join(dir, "started")); (len(said) > 0) != c.started {
				t.Errorf("it was started for: %q", strings.TrimSpace(string(said)))
			}
			if c.command == "ADD" && !sameJSON(t, out, []byte(result)) {
				t.Errorf("the result is %s, want %s", out, result)
			}
		})
	}
}

func sameJSON(t *testing.T, a, b []byte) bool {
	t.Helper()
	var x, y any
	if err := json.Unmarshal(a, &x); err != nil {
		t.Fatalf("%v: %s", err, a)
	}
	if err := json.Unmarshal(b, &y); err != nil {
		t.Fatal(err)
	}
	return reflect.DeepEqual(x, y)
}

// Without a result of an earlier plugin, or in a version that is not known, the program itself says what is wrong.
func TestPortmapThatHasToComplainIsStarted(t *testing.T) {
	for _, conf := range []string{
		`{"cniVersion":"1.0.0","name":"net","type":"portmap"}`,
		`{"cniVersion":"9.0.0","name":"net","type":"portmap","prevResult":` + result + `}`,
		`{`,
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, "portmap")
		text := "#!/bin/sh\necho '{\"code\":7,\"msg\":\"complaint\"}'; exit 1\n"
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Link(path, filepath.Join(dir, ownName)); err != nil {
			t.Fatal(err)
		}
		_, err := (&programs{}).ExecPlugin(context.Background(), path, []byte(conf), []string{"CNI_COMMAND=ADD"})
		if err == nil || !strings.Contains(err.Error(), "complaint") {
			t.Errorf("%s: %v", conf, err)
		}
	}
}
