# SPDX-License-Identifier: Apache-2.0
#
#   make build   programs in bin/
#   make run     a three-node cluster with the demo in it
#   make test    formatting, house rules, every test of a package, and the scripts of cluster-test
#   make cluster-test   scripts on a real cluster of three nodes
#   make cni-test    the CNI plugins under cnitool and podman
#   make cni-bench   the CNI plugins beside the reference ones
#   make conformance    Kubernetes' own sig-network conformance specs on a fresh local cluster
#   make bench   how long a cluster and a pod take to start, memory, and service proxies beside kube-proxy
#   make bench-dns   cluster DNS beside CoreDNS and Knot

GO       ?= go
LDFLAGS  := -ldflags '-s -w'

# One way to compile everything: Kubernetes is compiled once for programs and tests, and programs need no C library.
export CGO_ENABLED = 0

.PHONY: build run test lint unit cluster-test cni-test cni-bench conformance bench bench-dns clean packages

build:
	@scripts/require.sh build
	@mkdir -p bin
	$(GO) build $(LDFLAGS) -o bin/ ./cmd/...

# Debian packages that running and testing need; says which are missing and why, and installs them.
packages:
	@scripts/require.sh run

run: build packages
	bin/eastwest up
	bin/eastwest demo
	@scripts/usage.sh

test: lint unit cluster-test

# Formatting and the house rules; golangci-lint reads .golangci.yml where it is installed.
lint:
	@files=$$(gofmt -l cmd internal test); test -z "$$files" || { echo "$$files"; echo 'run gofmt -w on these files'; exit 1; }
	$(GO) test -vet=off -count=1 ./test/house
	@! command -v golangci-lint >/dev/null || golangci-lint run

unit:
	@scripts/require.sh test
	$(GO) test -vet=off -timeout 40m ./cmd/... ./internal/... ./test/article ./test/images/...

cluster-test: build
	@scripts/require.sh test
	$(GO) test -vet=off -count=1 -timeout 30m ./test/cluster -args -bin $(CURDIR)/bin

# The CNI plugins under cnitool and podman; both are downloaded, nothing is installed.
cni-test: build packages
	@scripts/require.sh test
	$(GO) test -vet=off -count=1 -timeout 20m ./test/cni -args -bin $(CURDIR)/bin

# The CNI plugins beside the reference ones, and the reference's own test suites on ours.
cni-bench: build packages
	cd bench && $(GO) run ./cni -bin $(CURDIR)/bin
	cd bench && $(GO) run ./cni/suites -bin $(CURDIR)/bin

# Kubernetes' own specs on a fresh cluster; it compiles them first, which takes long.
# ARGS go to the runner: make conformance ARGS='-focus=DNS -procs=2'
conformance: build packages
	cd test/conformance && $(GO) run . -bin $(CURDIR)/bin -o $(CURDIR)/bin/conformance $(ARGS)

bench: build packages
	@scripts/require.sh test
	cd bench && $(GO) run ./start -bin $(CURDIR)/bin
	cd bench && $(GO) build -o $(CURDIR)/bin/kube-proxy ./proxy/kubeproxy
	cd bench && $(GO) run ./proxy -bin $(CURDIR)/bin -kube-proxy $(CURDIR)/bin/kube-proxy

# Cluster DNS beside CoreDNS and Knot (Debian: knot, dnsperf): answers, speed, memory.
bench-dns: build
	cd bench/dns && $(GO) test -vet=off ./parity && $(GO) run . -node $(CURDIR)/bin/eastwest-node

clean:
	rm -rf bin
