# SPDX-License-Identifier: Apache-2.0
#
#   make build   programs in bin/
#   make run     a three-node cluster with the demo in it
#   make test    every test
#   make bench   the figures of the README

GO       ?= go
PROGRAMS := eastwest eastwest-node eastwest-cni eastwest-tool
export CGO_ENABLED = 0

.PHONY: build run test unit cluster-test lint bench fuzz clean packages

build:
	@scripts/require.sh build
	@mkdir -p bin
	$(GO) build -trimpath -ldflags '-s -w' -o bin/ $(addprefix ./cmd/,$(PROGRAMS))

# Debian packages that running and testing need; says which are missing and why, and installs them.
packages:
	@scripts/require.sh run

run: build packages
	bin/eastwest up
	bin/eastwest demo
	@scripts/usage.sh

test: lint unit cluster-test

lint:
	@test -z "$$(gofmt -l cmd internal test)" || { gofmt -l cmd internal test; echo 'run gofmt -w on these files'; exit 1; }
	$(GO) vet ./...

unit: packages
	$(GO) test ./...

cluster-test: build packages
	@scripts/require.sh test
	$(GO) test -count=1 -timeout 20m ./test/cluster -args -bin $(CURDIR)/bin

bench: build packages
	cd bench && $(GO) run . -bin $(CURDIR)/bin

clean:
	rm -rf bin
