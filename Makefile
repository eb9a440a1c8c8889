# SPDX-License-Identifier: Apache-2.0
#
#   make build   programs in bin/
#   make run     a three-node cluster with the demo in it
#   make test    formatting, house rules, every test of a package, and the scripts of cluster-test
#   make cluster-test   scripts on a real cluster of three nodes
#   make cni-test    the CNI plugins under cnitool, podman and containerd
#   make cni-suites  the reference plugins' own test suites on ours, here and on Debian's kernel in an emulated machine
#   make cni-bench   the CNI plugins beside the reference ones
#   make kubectl-test   the script of kubectl's verbs with the kubectl of 1.34 and 1.35
#   make clients-test   other people's clients: client-go, controller-runtime, helm, @kubernetes/client-node
#   make components-test   Kubernetes' own controllers, scheduler, proxy and DNS as clients of the server
#   make qemu-test   tests of what this machine's kernel may lack, on Debian's kernel in an emulated machine
#   make conformance    Kubernetes' own sig-network conformance specs on a fresh local cluster
#   make runtimes-test   a cluster on containerd and one on Docker, both from Debian's packages; neither is installed
#   make kubelet-test   Kubernetes' own kubelet on our container runtime, CNI plugins, proxy and DNS
#   make critest   the CRI validation suite of cri-tools against the container runtime
#   make bench   how long a cluster and a pod take to start, memory, and service proxies beside kube-proxy
#   make bench-proxy   service proxies beside kube-proxy
#   make bench-kubelet   how pods start, beside Kubernetes' own kubelet on containerd
#   make bench-dns   cluster DNS beside CoreDNS and Knot
#   make bench-paths   pods of different hosts beside the same path set up by hand

GO       ?= go

# Where other container runtimes are unpacked for tests: a folder that nodes see, which /tmp, where a checkout may be, is not.
RUNTIMES ?= /var/cache/eastwest/runtimes

# What `kubectl version` and /version say: Kubernetes' release from go.mod, and the commit that was built.
KUBERNETES := $(shell awk '$$1 == "k8s.io/kubernetes" { print $$2; exit }' go.mod)
KUBERNETES_VERSION := k8s.io/component-base/version
LINK     := -s -w \
  -X $(KUBERNETES_VERSION).gitVersion=$(KUBERNETES) \
  -X $(KUBERNETES_VERSION).gitMajor=$(word 1,$(subst ., ,$(KUBERNETES:v%=%))) \
  -X $(KUBERNETES_VERSION).gitMinor=$(word 2,$(subst ., ,$(KUBERNETES:v%=%))) \
  -X $(KUBERNETES_VERSION).gitCommit=$(shell git rev-parse HEAD 2>/dev/null) \
  -X $(KUBERNETES_VERSION).gitTreeState=$(shell test -z "$$(git status --porcelain 2>/dev/null)" && echo clean || echo dirty) \
  -X $(KUBERNETES_VERSION).buildDate=$(shell TZ=UTC git log -1 --date=format-local:%Y-%m-%dT%H:%M:%SZ --format=%cd 2>/dev/null)
LDFLAGS  := -ldflags '$(LINK)'

# The CNI plugins start in assembly where there is some for the processor (internal/cni/entry).
ENTRY    := $(if $(wildcard internal/cni/entry/entry_$(shell $(GO) env GOARCH).s),-E eastwest/internal/cni/entry.start)

# One way to compile everything: Kubernetes is compiled once for programs and tests, and programs need no C library.
export CGO_ENABLED = 0

.PHONY: build run test lint unit cluster-test kubectl-test clients-test components components-test cni-test cni-suites cni-bench conformance critest bench bench-proxy bench-kubelet bench-dns bench-paths clean packages qemu-test runtimes-test kubelet-test

build:
	@scripts/require.sh build
	@mkdir -p bin
	$(GO) build $(LDFLAGS) -o bin/ $(filter-out ./cmd/eastwest-cni,$(wildcard ./cmd/*))
	$(GO) build -ldflags '$(LINK) $(ENTRY)' -o bin/ ./cmd/eastwest-cni

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
	$(GO) test -vet=off -timeout 40m ./cmd/... ./internal/... ./test/article ./test/images/... ./test/cni/suites

cluster-test: build
	@scripts/require.sh test
	@scripts/runtimes.sh $(RUNTIMES)
	$(GO) test -vet=off -count=1 -timeout 30m ./test/cluster -args -bin $(CURDIR)/bin

# Kubernetes' own controllers, scheduler, proxy and DNS as clients of the server; compiling them takes many minutes.
components-test: components
	$(GO) test -vet=off -count=1 -timeout 20m ./test/cluster -args -bin $(CURDIR)/bin -clients $(CURDIR)/bin/components -script '8[34]-*'

components: build packages
	@scripts/require.sh test
	cd test/components && $(GO) build $(LDFLAGS) -o $(CURDIR)/bin/components/ tool && mv $(CURDIR)/bin/components/server $(CURDIR)/bin/components/etcd
	cd bench/dns && $(GO) build -ldflags '-s -w' -o $(CURDIR)/bin/components/ ./coredns

# The CNI plugins under cnitool, podman and containerd; all are downloaded, nothing is installed.
cni-test: build packages
	@scripts/require.sh test
	$(GO) test -vet=off -count=1 -timeout 20m ./test/cni -args -bin $(CURDIR)/bin

# The reference plugins' own test suites on ours; what depends on the kernel once more on Debian's, which filters VLANs.
# ARGS go to the test: make cni-suites ARGS='-only main/ptp'
cni-suites: build packages
	@scripts/require.sh test
	@scripts/require.sh suites
	$(GO) test -vet=off -count=1 -timeout 60m -v ./test/cni/suites -args -bin $(CURDIR)/bin $(ARGS)
	@scripts/require.sh qemu
	$(GO) test -vet=off -count=1 -timeout 60m -v ./test/cni/suites -args -bin $(CURDIR)/bin -qemu $(ARGS)

# The CNI plugins beside the reference ones.
cni-bench: build packages
	cd bench && $(GO) run ./cni -bin $(CURDIR)/bin $(ARGS)

# What people type, with the kubectl of the last versions, each built from its modules.
kubectl-test: build packages
	@scripts/require.sh test
	@for version in 1.34 1.35; do \
	  (cd test/kubectl/v$$version && $(GO) build -ldflags "-X $(KUBERNETES_VERSION).gitVersion=v$$version.0" -o $(CURDIR)/bin/kubectl-$$version .) && \
	  $(GO) test -vet=off -count=1 -timeout 10m ./test/cluster -args -bin $(CURDIR)/bin -script '30-kubectl' -kubectl $(CURDIR)/bin/kubectl-$$version || exit 1; \
	done

# What other people's clients do: client-go, controller-runtime, helm, @kubernetes/client-node.
clients-test: build packages
	@scripts/require.sh test
	@command -v node >/dev/null || { echo 'Node.js is missing: install nodejs and npm'; exit 1; }
	cd test/clients/controllerruntime && $(GO) test -vet=off -c -o $(CURDIR)/bin/clients/controllerruntime.test .
	cd test/clients/helm && $(GO) build -o $(CURDIR)/bin/clients/helm helm.sh/helm/v4/cmd/helm
	cd test/clients/node && npm install --no-package-lock --no-audit --no-fund --silent
	$(GO) test -vet=off -count=1 -timeout 20m ./test/cluster -args -bin $(CURDIR)/bin -clients $(CURDIR)/bin/clients -script '8[5-9]*'

# Tests on Debian's kernel under qemu; it is downloaded once, nothing is installed but what require.sh names. The suite is in
# test/qemu/qemu_test.go, two machines at a time; other tests: make qemu-test PACKAGES=./internal/cni/bridge TESTS=Vlan MODULES='bridge 8021q'
qemu-test: build
	@scripts/require.sh qemu
	$(GO) test -vet=off -count=1 -parallel 2 -timeout 60m $(if $(PACKAGES),-v) ./test/qemu -args -bin $(CURDIR)/bin -packages '$(PACKAGES)' -tests '$(or $(TESTS),.)' -modules '$(MODULES)'

# A cluster on containerd and one on Docker behind cri-dockerd.
runtimes-test: build packages
	@scripts/require.sh test
	@scripts/runtimes.sh $(RUNTIMES)
	@scripts/cri-dockerd.sh $(RUNTIMES)
	$(GO) test -vet=off -count=1 -timeout 10m ./test/cluster -args -bin $(CURDIR)/bin -script '96-runtimes'

# Kubernetes' own kubelet on our container runtime, CNI plugins, proxy and DNS.
kubelet-test: build packages
	@scripts/require.sh test
	cd test/kubelet && $(GO) build -ldflags "-X $(KUBERNETES_VERSION).gitVersion=$(KUBERNETES)" -o $(CURDIR)/bin/kubelet ./kubelet
	$(GO) test -vet=off -count=1 -timeout 10m ./test/cluster -args -bin $(CURDIR)/bin -script '98-kubelet'

# Kubernetes' own specs on a fresh cluster; it compiles them first, which takes long.
# ARGS go to the runner: make conformance ARGS='-focus=DNS -procs=2'
conformance: build packages
	cd test/conformance && $(GO) run . -bin $(CURDIR)/bin -o $(CURDIR)/bin/conformance $(ARGS)

# The CRI validation suite of cri-tools against eastwest cri. ARGS go to the runner: make critest ARGS='-focus=Streaming'
critest: build packages
	@scripts/require.sh test
	cd test/critest && $(GO) run . -bin $(CURDIR)/bin -o $(CURDIR)/bin/critest $(ARGS)

bench: build packages
	@scripts/require.sh test
	cd bench && $(GO) run ./start -bin $(CURDIR)/bin
	$(MAKE) bench-proxy

# Service proxies beside kube-proxy, which is built from its module. ARGS go to the program:
# make bench-proxy ARGS='-what sync,rolling -only nftables -services 10000,44000 -changes 100'
bench-proxy: build packages
	cd bench && $(GO) build -o $(CURDIR)/bin/kube-proxy ./proxy/kubeproxy
	cd bench && $(GO) run ./proxy -bin $(CURDIR)/bin -kube-proxy $(CURDIR)/bin/kube-proxy $(ARGS)

# How pods start beside Kubernetes' own kubelet on containerd. ARGS go to the program: make bench-kubelet ARGS='-steps rolling'
bench-kubelet: build packages
	@scripts/require.sh test
	cd bench && $(GO) run ./kubelet -bin $(CURDIR)/bin $(ARGS)

# From a pod to one on another host, plain and inside VXLAN, beside the same path set up by hand.
bench-paths: build packages
	cd bench && $(GO) run ./paths -bin $(CURDIR)/bin $(ARGS)

# Cluster DNS beside CoreDNS and Knot (Debian: knot, dnsperf): answers, speed, memory. ARGS go to the benchmark:
# make bench-dns ARGS='-sizes 1000x10,10000x10,100000x0'
bench-dns: build
	cd bench/dns && $(GO) test -vet=off ./parity && $(GO) run . -node $(CURDIR)/bin/eastwest-node $(ARGS)

clean:
	rm -rf bin
