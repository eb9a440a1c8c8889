// SPDX-License-Identifier: Apache-2.0

package serve

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"eastwest/internal/tool/request"
	"eastwest/internal/tool/resolve"
)

const (
	maxBody  = 1 << 20
	maxDelay = 5 * time.Minute
)

// routes is the HTTP interface. Every answer names this host and the client's address in headers.
func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", s.index)
	mux.HandleFunc("/hostname", s.hostname)
	mux.HandleFunc("/clientip", clientIP)
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("/echo", echo)
	mux.HandleFunc("/request", sendRequests)
	mux.HandleFunc("/resolve", lookUp)
	mux.HandleFunc("/delay", delay)
	mux.HandleFunc("/exit", s.exitWith)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(request.HostnameHeader, s.config.Hostname)
		w.Header().Set(request.ClientHeader, r.RemoteAddr)
		mux.ServeHTTP(w, r)
	})
}

func (s *Server) index(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintf(w, "hostname: %s\nclient:   %s\nrequest:  %s %s %s\n", s.config.Hostname, r.RemoteAddr, r.Method, r.URL, r.Proto)
}

func (s *Server) hostname(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, s.config.Hostname) }

func clientIP(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, r.RemoteAddr) }

// echo answers with the parameter msg, or else with the body.
func echo(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if r.URL.Query().Has("msg") {
		fmt.Fprintln(w, r.URL.Query().Get("msg"))
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		http.Error(w, fmt.Sprintf("read the body: %v", err), http.StatusRequestEntityTooLarge)
		return
	}
	_, _ = w.Write(body)
}

// sendRequests makes requests from here: ?url= [&count=] [&timeout=].
func sendRequests(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	config := request.Config{Target: query.Get("url")}
	var err error
	if text := query.Get("count"); text != "" {
		if config.Count, err = strconv.Atoi(text); err != nil {
			http.Error(w, fmt.Sprintf("count %q is not a number", text), http.StatusBadRequest)
			return
		}
	}
	if config.Timeout, err = durationOf(query.Get("timeout"), 0); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	report, err := request.HTTP(r.Context(), config)
	writeJSON(w, report, err)
}

// lookUp resolves a name from here: ?name= [&type=] [&server=] [&timeout=].
func lookUp(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	timeout, err := durationOf(query.Get("timeout"), 0)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	answer, err := resolve.Resolve(r.Context(), resolve.Query{
		Name: query.Get("name"), Type: query.Get("type"), Server: query.Get("server"), Timeout: timeout,
	})
	writeJSON(w, answer, err)
}

// delay answers after ?for=, one second without it, unless the client goes away first.
func delay(w http.ResponseWriter, r *http.Request) {
	wait, err := durationOf(r.URL.Query().Get("for"), time.Second)
	if err == nil && wait > maxDelay {
		err = fmt.Errorf("delay %s is longer than %s", wait, maxDelay)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	select {
	case <-time.After(wait):
		fmt.Fprintln(w, "ok")
	case <-r.Context().Done():
	}
}

// exitWith ends the program with ?code=, 0 without it, once this answer is out.
func (s *Server) exitWith(w http.ResponseWriter, r *http.Request) {
	code := 0
	if text := r.URL.Query().Get("code"); text != "" {
		n, err := strconv.ParseUint(text, 10, 8)
		if err != nil {
			http.Error(w, fmt.Sprintf("code %q is not a number from 0 to 255", text), http.StatusBadRequest)
			return
		}
		code = int(n)
	}
	fmt.Fprintf(w, "exit code %d\n", code)
	select {
	case s.exit <- code:
	default: // asked for already
	}
}

func durationOf(text string, otherwise time.Duration) (time.Duration, error) {
	if text == "" {
		return otherwise, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is not a duration such as 500ms or 2s", text)
	}
	return d, nil
}

func writeJSON(w http.ResponseWriter, v any, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	_ = encoder.Encode(v)
}
