// SPDX-License-Identifier: Apache-2.0

package debimage

import (
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// site serves the folder of the welcome page. IPv4 only: nginx does not start when told to listen on a family that the
// kernel lacks.
const site = `server {
    listen       80;
    server_name  localhost;
    location / {
        root   /usr/share/nginx/html;
        index  index.html index.htm;
    }
    error_page   500 502 503 504  /50x.html;
}
`

const brokenPage = "<!DOCTYPE html>\n<html><head><title>Error</title></head><body><h1>An error occurred.</h1></body></html>\n"

// nginx is Debian's nginx in the manner of the image that people know: entrypoint, port, page and logs on stdout and stderr.
func nginx() recipe {
	files := append(accounts(),
		file{name: "etc/nginx/conf.d/default.conf", text: site},
		file{name: "usr/share/nginx/html/50x.html", text: brokenPage},
		file{name: "var/www/"},
		file{name: "var/www/html", target: "/usr/share/nginx/html"},
		file{name: "var/log/nginx/access.log", target: "/dev/stdout"},
		file{name: "var/log/nginx/error.log", target: "/dev/stderr"},
	)
	return recipe{
		packages: []string{"nginx", "busybox-static"},
		keep:     keepForNginx,
		files:    append(files, appletLinks("usr/bin/")...),
		config: v1.Config{
			Env:          []string{searchPath},
			Entrypoint:   []string{"nginx", "-g", "daemon off;"},
			ExposedPorts: map[string]struct{}{"80/tcp": {}},
			StopSignal:   "SIGQUIT",
		},
	}
}

// keepForNginx leaves out what a container does not need: documentation, translations, character sets, start-up scripts.
func keepForNginx(path string) bool {
	for _, drop := range []string{
		"usr/share/doc", "usr/share/man", "usr/share/lintian", "usr/share/locale", "usr/share/bug", "usr/share/initramfs-tools",
		"usr/share/vim", "usr/lib/systemd", "etc/init.d", "etc/logrotate.d", "etc/ufw", "etc/default", "etc/ld.so.conf.d",
	} {
		if path == drop || strings.HasPrefix(path, drop+"/") {
			return false
		}
	}
	return !strings.Contains(path, "/gconv/")
}
