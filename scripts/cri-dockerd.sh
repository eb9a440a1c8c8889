#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# cri-dockerd.sh DIR: builds cri-dockerd, which speaks CRI for Docker, from its Go module into DIR. Nothing is installed.
#
# Docker 20.10, which Debian 12 has, speaks version 1.41 of its API, and this release asks for 1.42 though it uses nothing of it: the
# number is lowered in a copy.
set -eu

if [ $# -ne 1 ]; then
	echo "usage: cri-dockerd.sh DIR" >&2
	exit 2
fi
mkdir -p "$1"
dir=$(cd "$1" && pwd)
[ ! -x "$dir/cri-dockerd" ] || exit 0
go=${GO:-go}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
module=github.com/Mirantis/cri-dockerd@v0.4.0
source=$(cd "$work" && "$go" mod download -json $module | sed -n 's/^\t"Dir": "\(.*\)",*$/\1/p')
if [ -z "$source" ]; then
	echo "cannot download the Go module $module" >&2
	exit 1
fi
cp -R "$source" "$work/source"
chmod -R u+w "$work/source"
sed -i 's/MinimumDockerAPIVersion = "1.42.0"/MinimumDockerAPIVersion = "1.41.0"/' "$work/source/libdocker/client.go"
cd "$work/source"
CGO_ENABLED=0 "$go" build -mod=mod -ldflags '-s -w' -o "$dir/cri-dockerd" .
