// SPDX-License-Identifier: Apache-2.0

package rootfs

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	securejoin "github.com/cyphar/filepath-securejoin"
)

// maxAccountFile bounds how much of an image's passwd and group files is read.
const maxAccountFile = 16 << 20

// User is who a container's first process runs as.
type User struct {
	UID, GID uint32
	// Groups are the supplementary groups that the image's /etc/group gives the user.
	Groups []uint32
}

// passwdEntry is a line of /etc/passwd.
type passwdEntry struct {
	name     string
	uid, gid uint32
}

// groupEntry is a line of /etc/group.
type groupEntry struct {
	name    string
	gid     uint32
	members []string
}

// LookupUser resolves "user", "uid", "user:group" or "uid:gid" with the accounts of the file system at root. A number that
// no account has stands for itself, with group 0, as Docker does; a name that no account has is an error.
func LookupUser(root, spec string) (User, error) {
	userPart, groupPart, hasGroup := strings.Cut(spec, ":")
	users, err := readAccounts(root, "/etc/passwd", parsePasswd)
	if err != nil {
		return User{}, err
	}
	groups, err := readAccounts(root, "/etc/group", parseGroup)
	if err != nil {
		return User{}, err
	}
	user, name, err := findUser(users, userPart)
	if err != nil {
		return User{}, err
	}
	if hasGroup && groupPart != "" {
		if user.GID, err = findGroup(groups, groupPart); err != nil {
			return User{}, err
		}
		return user, nil
	}
	for _, g := range groups {
		if name != "" && slices.Contains(g.members, name) && g.gid != user.GID {
			user.Groups = append(user.Groups, g.gid)
		}
	}
	return user, nil
}

func findUser(users []passwdEntry, spec string) (User, string, error) {
	if spec == "" {
		spec = "0"
	}
	for _, u := range users {
		if u.name == spec {
			return User{UID: u.uid, GID: u.gid}, u.name, nil
		}
	}
	uid, err := parseID(spec)
	if err != nil {
		return User{}, "", fmt.Errorf("no user %q in the image's /etc/passwd", spec)
	}
	for _, u := range users {
		if u.uid == uid {
			return User{UID: uid, GID: u.gid}, u.name, nil
		}
	}
	return User{UID: uid}, "", nil
}

func findGroup(groups []groupEntry, spec string) (uint32, error) {
	for _, g := range groups {
		if g.name == spec {
			return g.gid, nil
		}
	}
	gid, err := parseID(spec)
	if err != nil {
		return 0, fmt.Errorf("no group %q in the image's /etc/group", spec)
	}
	return gid, nil
}

func parseID(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 31)
	return uint32(n), err
}

func readAccounts[T any](root, path string, parse func([]string) (T, bool)) ([]T, error) {
	resolved, err := securejoin.SecureJoin(root, path)
	if err != nil {
		return nil, fmt.Errorf("resolve %s in the image: %w", path, err)
	}
	f, err := os.Open(resolved)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s of the image: %w", path, err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("read %s of the image: not a regular file", path)
	}
	return parseAccounts(io.LimitReader(f, maxAccountFile), parse)
}

func parseAccounts[T any](r io.Reader, parse func([]string) (T, bool)) ([]T, error) {
	var out []T
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if entry, ok := parse(strings.Split(line, ":")); ok {
			out = append(out, entry)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read accounts of the image: %w", err)
	}
	return out, nil
}

func parsePasswd(f []string) (passwdEntry, bool) {
	if len(f) < 4 {
		return passwdEntry{}, false
	}
	uid, err1 := parseID(f[2])
	gid, err2 := parseID(f[3])
	return passwdEntry{name: f[0], uid: uid, gid: gid}, err1 == nil && err2 == nil
}

func parseGroup(f []string) (groupEntry, bool) {
	if len(f) < 3 {
		return groupEntry{}, false
	}
	gid, err := parseID(f[2])
	g := groupEntry{name: f[0], gid: gid}
	if len(f) > 3 && f[3] != "" {
		g.members = strings.Split(f[3], ",")
	}
	return g, err == nil
}
