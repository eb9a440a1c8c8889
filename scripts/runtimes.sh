#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# runtimes.sh DIR: puts containerd and Docker of Debian's packages into DIR, for tests that run pods on them. Nothing is
# installed and nothing is started.
set -eu

if [ $# -ne 1 ]; then
	echo "usage: runtimes.sh DIR" >&2
	exit 2
fi
mkdir -p "$1"
dir=$(cd "$1" && pwd)
[ ! -e "$dir/.complete" ] || exit 0
if ! command -v apt-get >/dev/null 2>&1; then
	echo "this is not Debian or Ubuntu: tests of other runtimes are skipped; for them put containerd, ctr, containerd-shim-runc-v2, dockerd and docker into $dir" >&2
	exit 0
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work" # apt-get downloads as a user of its own
packages="containerd docker.io libdevmapper1.02.1"
[ -n "$(ls /var/lib/apt/lists/*_Packages* 2>/dev/null)" ] || apt-get update -qq >&2
# shellcheck disable=SC2086
(cd "$work" && { apt-get -qq download $packages 2>/dev/null || { apt-get update -qq >&2 && apt-get -qq download $packages; }; })
for package in "$work"/*.deb; do
	dpkg-deb -x "$package" "$work/unpacked"
done
mkdir -p "$dir/lib"
for program in usr/bin/containerd usr/bin/containerd-shim-runc-v2 usr/bin/ctr usr/bin/docker; do
	cp "$work/unpacked/$program" "$dir/"
done
cp "$work/unpacked/usr/sbin/dockerd" "$dir/lib/"
find "$work/unpacked" -name 'libdevmapper.so*' -exec cp -P {} "$dir/lib/" \;
cat >"$dir/dockerd" <<END
#!/bin/sh
LD_LIBRARY_PATH=$dir/lib exec $dir/lib/dockerd "\$@"
END
chmod 755 "$dir/dockerd"
touch "$dir/.complete"
