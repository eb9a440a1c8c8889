// SPDX-License-Identifier: Apache-2.0

package house

import (
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// rule says what the packages below some folders must not import, and why.
type rule struct {
	in     []string // folders; empty for all
	except []string // folders that may
	banned []string // prefixes of import paths
	why    string
}

var rules = []rule{
	{
		except: []string{"internal/apiserver", "internal/controller", "test"},
		banned: []string{"k8s.io/kubernetes"},
		why:    "Kubernetes' machinery stays behind the API: nothing else may depend on its internals",
	},
	{
		in:     []string{"internal/dataplane", "internal/dns", "internal/explain", "internal/compile", "internal/cni", "internal/kernel", "internal/tool"},
		banned: []string{"k8s.io/"},
		why:    "these parts serve tables and packets, not API objects",
	},
	{
		in:     []string{"internal/node", "internal/kubelet", "internal/cri", "internal/watch", "internal/client", "internal/cli/nodecmd", "cmd/eastwest-node"},
		banned: []string{"k8s.io/client-go/kubernetes", "k8s.io/client-go/informers", "k8s.io/kubernetes", "k8s.io/apiserver"},
		why:    "the node's program stays small: it uses eastwest/internal/client",
	},
	{
		except: []string{"internal/server", "internal/cli/servercmd", "internal/apiserver", "internal/controller", "cmd/eastwest-server", "test"},
		banned: []string{"eastwest/internal/server", "eastwest/internal/apiserver", "eastwest/internal/cli/servercmd"},
		why:    "only the server's program carries the control plane",
	},
	{
		in:     []string{"internal/table", "internal/snapshot", "internal/reconcile"},
		banned: []string{"k8s.io/", "github.com/", "golang.org/", "google.golang.org/"},
		why:    "values and loops need nothing but the standard library",
	},
	{
		in:     []string{"internal/compile"},
		banned: []string{"os", "net", "os/exec", "net/http", "golang.org/x/sys/unix"},
		why:    "compile decides and does no I/O",
	},
	{
		except: []string{"internal/node", "internal/cluster", "internal/cli", "internal/server", "internal/demo", "cmd", "test"},
		banned: []string{"eastwest/internal/node", "eastwest/internal/cluster", "eastwest/internal/server"},
		why:    "composition is at the top: nothing but the command line imports it",
	},
	{
		banned: []string{"github.com/containernetworking/plugins", "github.com/onsi/"},
		why:    "the plugins are ours, and tests are plain Go",
	},
}

func TestImports(t *testing.T) {
	for _, s := range sources(t) {
		for _, r := range rules {
			if s.isTest && !strings.HasPrefix(s.path, "internal/compile") || !r.applies(s.path) {
				continue
			}
			for _, spec := range s.file.Imports {
				path, err := strconv.Unquote(spec.Path.Value)
				if err != nil {
					t.Fatal(err)
				}
				if r.bans(path) {
					t.Errorf("%s imports %s: %s", s.path, path, r.why)
				}
			}
		}
	}
}

func (r rule) applies(path string) bool {
	return (len(r.in) == 0 || below(path, r.in)) && !below(path, r.except)
}

func (r rule) bans(path string) bool {
	for _, prefix := range r.banned {
		if path == prefix || strings.HasPrefix(path, strings.TrimSuffix(prefix, "/")+"/") && strings.Contains(prefix, "/") {
			return true
		}
	}
	return false
}

func below(path string, folders []string) bool {
	for _, folder := range folders {
		if strings.HasPrefix(filepath.ToSlash(path), folder+"/") {
			return true
		}
	}
	return false
}

// Backends know the tables, not each other.
func TestBackendsDoNotImportEachOther(t *testing.T) {
	const services = "internal/dataplane/services/"
	for _, s := range sources(t) {
		rest, is := strings.CutPrefix(filepath.ToSlash(s.path), services)
		if !is || s.isTest {
			continue
		}
		own := services + strings.SplitN(rest, "/", 2)[0]
		for _, spec := range s.file.Imports {
			path := strings.Trim(spec.Path.Value, `"`)
			if strings.HasPrefix(path, "eastwest/"+services) && !strings.HasPrefix(path, "eastwest/"+own) {
				t.Errorf("%s imports %s: what two backends need belongs to compile or to internal/kernel", s.path, path)
			}
		}
	}
}
