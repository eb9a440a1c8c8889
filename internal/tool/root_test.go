// SPDX-License-Identifier: Apache-2.0

package tool_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"eastwest/internal/tool"
	"eastwest/internal/tool/request"
)

func run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs strings.Builder
	code = tool.Run(t.Context(), args, &out, &errs)
	return code, out.String(), errs.String()
}

func TestExitCodes(t *testing.T) {
	up := httptest.NewServer(http.NotFoundHandler())
	defer up.Close()
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"nonsense"}, 2, "unknown command"},
		{[]string{"request"}, 2, "accepts 1 arg"},
		{[]string{"request", "nonsense"}, 2, "is not of the form"},
		{[]string{"request", up.URL, "-o", "yaml"}, 2, "unknown output form"},
		{[]string{"request", up.URL}, 1, ""},
		{[]string{"sleep", "1ms"}, 0, ""},
		{[]string{"sleep", "soon"}, 2, "invalid duration"},
	} {
		code, _, stderr := run(t, c.args...)
		if code != c.code || !strings.Contains(stderr, c.says) {
			t.Errorf("%v: code %d, stderr %q; want %d with %q", c.args, code, stderr, c.code, c.says)
		}
	}
}

func TestRequestPrintsJSON(t *testing.T) {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(request.HostnameHeader, "pod-a")
	}))
	defer up.Close()
	code, stdout, _ := run(t, "request", up.URL, "-n", "4", "-o", "json")
	var report request.Report
	if err := json.Unmarshal([]byte(stdout), &report); err != nil {
		t.Fatalf("%v in %q", err, stdout)
	}
	if code != 0 || report.Hosts["pod-a"] != 4 {
		t.Errorf("code %d, report %+v; want 4 answers of pod-a", code, report)
	}
}

func TestServeEndsWithContext(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	stop()
	var out, errs strings.Builder
	code := tool.Run(ctx, []string{"serve", "--address", "127.0.0.1", "--http", "0", "--tcp", "0", "--udp", "0"}, &out, &errs)
	if code != 0 {
		t.Errorf("code %d, stderr %q; want 0", code, errs.String())
	}
}
