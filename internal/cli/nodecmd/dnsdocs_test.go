// SPDX-License-Identifier: Apache-2.0

package nodecmd

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	mdns "github.com/miekg/dns"
)

// fenced returns the text between ```KIND and ```.
func fenced(t *testing.T, page, kind string) string {
	t.Helper()
	_, rest, ok := strings.Cut(page, "```"+kind+"\n")
	text, _, closed := strings.Cut(rest, "```")
	if !ok || !closed {
		t.Fatalf("docs/dns.md has no %s", kind)
	}
	return text
}

// writeCertificate writes cert.pem and key.pem.
func writeCertificate(t *testing.T, dir string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: certificate}, "key.pem": {Type: "PRIVATE KEY", Bytes: key}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestCommandsOfThePage runs every command that docs/dns.md shows, on its files.
func TestCommandsOfThePage(t *testing.T) {
	text, err := os.ReadFile("../../../docs/dns.md")
	if err != nil {
		t.Fatal(err)
	}
	page, dir, kubeconfig := string(text), t.TempDir(), startAPI(t)
	for name, kind := range map[string]string{"dns.yaml": "yaml", "Corefile": "corefile"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(fenced(t, page, kind)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	writeCertificate(t, dir)
	commands := 0
	t.Setenv("KUBECONFIG", kubeconfig)
	for line := range strings.Lines(page) {
		command, ok := strings.CutPrefix(line, "    eastwest ")
		if !ok {
			continue
		}
		commands++
		listen, metrics := freeAddress(t), freeAddress(t)
		command = strings.NewReplacer("~/.kube/config", kubeconfig, "127.0.0.1:5353", listen, "127.0.0.1:9153", metrics, "127.0.0.1:8853", freeAddress(t),
			"cert.pem", filepath.Join(dir, "cert.pem"), "key.pem", filepath.Join(dir, "key.pem"),
			"dns.yaml", filepath.Join(dir, "dns.yaml"), "Corefile", filepath.Join(dir, "Corefile")).Replace(command)
		args := strings.Fields(command)
		t.Run(strings.TrimSpace(line), func(t *testing.T) {
			if args[1] == "query" || args[1] == "convert" {
				status, out, errs := run(t.Context(), args...)
				if status != 0 || out == "" || errs != "" {
					t.Fatalf("status %d\n%s%s", status, out, errs)
				}
				return
			}
			startDNS(t, args[1:]...)
			await(t, listen, "web.default.svc.cluster.local.", mdns.TypeA, "NOERROR 10.96.0.20")
			if strings.Contains(command, metrics) {
				await(t, listen, "db.example.com.", mdns.TypeA, "NOERROR 192.0.2.7")
				r, err := http.Get("http://" + metrics + "/ready")
				if err != nil || r.StatusCode != http.StatusOK {
					t.Fatal(r, err)
				}
				_ = r.Body.Close()
			}
		})
	}
	if commands < 6 {
		t.Errorf("found %d commands", commands)
	}
}

// A file that changes is taken over while the server runs; one that is wrong is not.
func TestDNSTakesChangedConfigurationOver(t *testing.T) {
	file, listen := filepath.Join(t.TempDir(), "dns.yaml"), freeAddress(t)
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("hosts: [{address: 192.0.2.7, names: [a.example]}]")
	startDNS(t, "--listen", listen, "--resolv-conf", "", "--config", file)
	await(t, listen, "a.example.", mdns.TypeA, "NOERROR 192.0.2.7")
	write("hosts: [{address: 192.0.2.8, names: [a.example]}]")
	await(t, listen, "a.example.", mdns.TypeA, "NOERROR 192.0.2.8")
	write("hosts: {")
	time.Sleep(1500 * time.Millisecond) // it is looked at every second
	await(t, listen, "a.example.", mdns.TypeA, "NOERROR 192.0.2.8")
}
