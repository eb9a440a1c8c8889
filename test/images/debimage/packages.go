// SPDX-License-Identifier: Apache-2.0

package debimage

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// closure returns the packages and what they need to run: the libraries that they depend on, and packages of data that
// carry their name (nginx-common). apt is asked once for each generation.
func closure(ctx context.Context, cache string, wanted []string) ([]string, error) {
	var all []string
	for generation := wanted; len(generation) > 0; {
		records, err := apt(ctx, cache, "apt-cache", append([]string{"show", "--no-all-versions"}, generation...)...)
		if err != nil {
			return nil, fmt.Errorf("look up Debian packages %s (run apt-get update if the lists are missing): %w",
				strings.Join(generation, ", "), err)
		}
		all = append(all, generation...)
		generation = nil
		for _, dependency := range dependencies(records) {
			if belongs(dependency, wanted) && !slices.Contains(all, dependency) {
				generation = append(generation, dependency)
			}
		}
	}
	return all, nil
}

// dependencies reads Depends and Pre-Depends of a package record; of alternatives the first counts.
func dependencies(record []byte) []string {
	var names []string
	for line := range strings.Lines(string(record)) {
		field, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if field != "Depends" && field != "Pre-Depends" {
			continue
		}
		for dependency := range strings.SplitSeq(value, ",") {
			first := strings.FieldsFunc(dependency, func(r rune) bool { return strings.ContainsRune(" |(:", r) })
			if len(first) > 0 && !slices.Contains(names, first[0]) {
				names = append(names, first[0])
			}
		}
	}
	return names
}

func belongs(dependency string, wanted []string) bool {
	if strings.HasPrefix(dependency, "lib") || strings.HasPrefix(dependency, "zlib") {
		return true
	}
	return slices.ContainsFunc(wanted, func(w string) bool { return dependency == w+"-common" || dependency == w+"-core" })
}

// download returns the packages' files in the cache, fetching what is missing.
func download(ctx context.Context, cache string, packages []string) ([]string, error) {
	var missing []string
	for _, name := range packages {
		if cached(cache, name) == "" {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		if _, err := apt(ctx, cache, "apt-get", append([]string{"-q", "download"}, missing...)...); err != nil {
			return nil, fmt.Errorf("download Debian packages %s: %w", strings.Join(missing, ", "), err)
		}
	}
	var files []string
	for _, name := range packages {
		file := cached(cache, name)
		if file == "" {
			return nil, fmt.Errorf("apt-get downloaded no file for package %s", name)
		}
		files = append(files, file)
	}
	return files, nil
}

// apt runs a program of apt in the cache folder. Its index is kept there too: where the system keeps none, as in
// containers, every call would build it anew, which takes seconds.
func apt(ctx context.Context, cache, program string, args ...string) ([]byte, error) {
	options := []string{
		"-o", "APT::Sandbox::User=root",
		"-o", "Dir::Cache::pkgcache=" + filepath.Join(cache, "pkgcache.bin"),
		"-o", "Dir::Cache::srcpkgcache=" + filepath.Join(cache, "srcpkgcache.bin"),
	}
	return output(ctx, cache, program, append(options, args...)...)
}

func cached(cache, name string) string {
	files, err := filepath.Glob(filepath.Join(cache, name+"_*.deb"))
	if err != nil || len(files) == 0 {
		return ""
	}
	return files[len(files)-1]
}

// output runs a program in dir and returns its stdout; the error carries its last words.
func output(ctx context.Context, dir, program string, args ...string) ([]byte, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("run %s: %w: %s", program, err, strings.TrimSpace(stderr.String()))
	}
	return stdout.Bytes(), nil
}
