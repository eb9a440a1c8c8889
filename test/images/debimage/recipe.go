// SPDX-License-Identifier: Apache-2.0

package debimage

import (
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

const searchPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// recipe says what is in an image.
type recipe struct {
	packages []string               // Debian packages; libraries that they depend on come along
	keep     func(path string) bool // which of the packages' files, by path with a merged /usr
	files    []file                 // added last
	config   v1.Config
}

// file is a regular file, a symbolic link (target set), a further name of a file (same set) or a folder (name ends in a
// slash).
type file struct {
	name, text, target, same string
	mode                     int64 // default 0644, folders 0755
}

func recipes() map[string]recipe {
	return map[string]recipe{"nginx": nginx(), "busybox": busybox(), "busybox-shared": busyboxShared()}
}

// applets are the programs that busybox takes the place of.
const applets = "sh ash cat ls cp mv rm mkdir ln chmod chown echo printf env test true false sleep date id hostname uname " +
	"ps pidof kill top sync grep sed awk head tail wc sort cut tr find xargs vi tar gzip gunzip wget nc telnet nslookup ping ip " +
	"ifconfig route brctl netstat mount umount df du dd stat touch tee which whoami httpd seq yes md5sum sha256sum"

func appletLinks(folder string) []file {
	var links []file
	for _, applet := range strings.Fields(applets) {
		links = append(links, file{name: folder + applet, target: "/usr/bin/busybox"})
	}
	return links
}

// accounts are the users and groups that the packages' set-up programs would have made; the numbers are Debian's.
func accounts() []file {
	return []file{
		{name: "etc/passwd", text: "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\n" +
			"nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"},
		{name: "etc/group", text: "root:x:0:\nwww-data:x:33:\nnogroup:x:65534:\n"},
		{name: "etc/nsswitch.conf", text: "passwd: files\ngroup: files\nhosts: files dns\n"},
		{name: "root/", mode: 0o700},
		{name: "tmp/", mode: 0o1777},
		{name: "run/"},
		{name: "var/run", target: "/run"},
		{name: "proc/"}, {name: "sys/"}, {name: "dev/"},
	}
}

func busybox() recipe {
	return recipe{
		packages: []string{"busybox-static"},
		keep:     func(path string) bool { return path == "usr/bin/busybox" },
		files:    append(accounts(), appletLinks("usr/bin/")...),
		config:   v1.Config{Env: []string{searchPath}, Cmd: []string{"sh"}},
	}
}

// busyboxShared is the busybox whose shell runs other programs by their files, where the static one looks into itself
// first; each program is a file to mount over, as in the image that people know.
func busyboxShared() recipe {
	files := accounts()
	for _, applet := range strings.Fields(applets) {
		files = append(files, file{name: "usr/bin/" + applet, same: "usr/bin/busybox"})
	}
	return recipe{
		packages: []string{"busybox"},
		keep: func(path string) bool {
			return path == "usr/bin/busybox" || strings.HasPrefix(path, "usr/lib") && strings.Contains(path, ".so") && !strings.Contains(path, "/gconv/")
		},
		files:  files,
		config: v1.Config{Env: []string{searchPath}, Cmd: []string{"sh"}},
	}
}
