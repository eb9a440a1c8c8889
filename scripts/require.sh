#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# require.sh build|run|test|suites|qemu: checks that what a step needs is here, and installs the Debian packages that are missing.
set -eu

# program:package:why, one a line
run_needs='runc:runc:runs containers
conmon:conmon:watches over containers
nft:nftables:shows the rules of services
ip:iproute2:shows links and routes'
test_needs='curl:curl:asks services as a client
python3:python3:the HTTP server of the article
ping:iputils-ping:the article reaches hosts with it
iptables-restore:iptables:rules of services in the other way
crun:crun:the other OCI runtime
openssl:openssl:certificates of DNS over TLS
dbus-daemon:dbus-daemon:the message bus of a pretended login manager
dpkg-deb:dpkg:unpacks the packages that test images are made of'
suites_needs='dbus-daemon:dbus-daemon:the message bus of a pretended firewalld'
qemu_needs='qemu-system-x86_64:qemu-system-x86:emulates a machine for kernels other than the host'"'"'s
cpio:cpio:packs the file system of that machine
ipvsadm:ipvsadm:lists the virtual servers of IPVS
depmod:kmod:lists and loads its kernel modules
iptables-restore:iptables:rules of services in the other way
dpkg-deb:dpkg:unpacks the kernel package linux-image-cloud-amd64, which is downloaded and not installed'

go_version() {
	if ! command -v "${GO:-go}" >/dev/null 2>&1; then
		echo "Go is missing: install the version that go.mod names, from your distribution or go.dev" >&2
		exit 1
	fi
}

# missing prints the lines of $1 whose program is not installed.
missing() {
	echo "$1" | while IFS=: read -r program package why; do
		command -v "$program" >/dev/null 2>&1 || [ -x "/usr/sbin/$program" ] || [ -x "/sbin/$program" ] ||
			echo "$program:$package:$why"
	done
}

install() {
	lines=$(missing "$1")
	[ -n "$lines" ] || return 0
	echo "missing programs:" >&2
	echo "$lines" | while IFS=: read -r program package why; do
		printf '  %-10s package %-14s %s\n' "$program" "$package" "$why" >&2
	done
	packages=$(echo "$lines" | cut -d: -f2 | sort -u | tr '\n' ' ')
	if ! command -v apt-get >/dev/null 2>&1; then
		echo "this is not Debian or Ubuntu: install the programs above in your distribution's way" >&2
		exit 1
	fi
	if [ "$(id -u)" -ne 0 ]; then
		echo "not root: run 'apt-get install $packages' as root, or this as root" >&2
		exit 1
	fi
	echo "installing: $packages" >&2
	apt-get update -qq >&2
	# shellcheck disable=SC2086
	DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $packages >/dev/null
}

case "${1:-}" in
build) go_version ;;
run) install "$run_needs" ;;
test) install "$run_needs
$test_needs" ;;
suites)
	install "$suites_needs"
	;;
qemu)
	install "$run_needs
$qemu_needs"
	# apt-get downloads the kernel by its lists.
	[ -n "$(ls /var/lib/apt/lists/*_Packages* 2>/dev/null)" ] || apt-get update -qq >&2
	;;
*)
	echo "usage: require.sh build|run|test|suites|qemu" >&2
	exit 2
	;;
esac
