// SPDX-License-Identifier: Apache-2.0

// Package house holds the rules of this repository as tests: each failure says which rule and why.
package house

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const (
	root         = "../.."
	maxFile      = 400 // lines
	maxFunction  = 60  // lines, without comments
	maxTestTable = 140 // lines of a test function: a table is data
)

type source struct {
	path   string // relative to the repository
	text   string
	file   *ast.File
	lines  int
	isTest bool
}

var fileSet = token.NewFileSet()

func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	for _, dir := range []string{"cmd", "internal", "test"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || filepath.Ext(path) != ".go" || strings.Contains(path, "/testdata/") {
				return err
			}
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			file, err := parser.ParseFile(fileSet, path, data, parser.ParseComments)
			if err != nil {
				return err
			}
			relative, err := filepath.Rel(root, path)
			all = append(all, source{
				path: relative, text: string(data), file: file, lines: strings.Count(string(data), "\n"),
				isTest: strings.HasSuffix(path, "_test.go"),
			})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func TestEveryFileNamesItsLicense(t *testing.T) {
	for _, s := range sources(t) {
		if !strings.HasPrefix(s.text, "// SPDX-License-Identifier: Apache-2.0\n") {
			t.Errorf("%s: the first line must be the SPDX licence line", s.path)
		}
	}
}

func TestEveryPackageHasOneComment(t *testing.T) {
	comments, packages := map[string]int{}, map[string]bool{}
	for _, s := range sources(t) {
		if s.isTest {
			continue
		}
		packages[filepath.Dir(s.path)] = true
		if s.file.Doc != nil {
			comments[filepath.Dir(s.path)]++
		}
	}
	for dir := range packages {
		if comments[dir] != 1 {
			t.Errorf("%s: %d package comments, want one: it is the first thing that a reader sees", dir, comments[dir])
		}
	}
}

func TestFilesAndFunctionsAreShort(t *testing.T) {
	for _, s := range sources(t) {
		if s.lines > maxFile && !s.isTest {
			t.Errorf("%s: %d lines, at most %d: one concept a file", s.path, s.lines, maxFile)
		}
		limit := maxFunction
		if s.isTest {
			limit = maxTestTable
		}
		for _, declaration := range s.file.Decls {
			function, ok := declaration.(*ast.FuncDecl)
			if !ok || function.Body == nil {
				continue
			}
			first, last := fileSet.Position(function.Pos()).Line, fileSet.Position(function.End()).Line
			if length := last - first + 1 - commentLines(s.file, function); length > limit {
				t.Errorf("%s: %s has %d lines, at most %d: decide in one function, act in another", s.path, function.Name.Name, length, limit)
			}
		}
	}
}

func commentLines(file *ast.File, function *ast.FuncDecl) int {
	lines := 0
	for _, group := range file.Comments {
		if group.Pos() > function.Body.Pos() && group.End() < function.End() {
			lines += fileSet.Position(group.End()).Line - fileSet.Position(group.Pos()).Line + 1
		}
	}
	return lines
}

func TestNoPackageIsADrawer(t *testing.T) {
	drawer := regexp.MustCompile(`^(util|utils|common|helper|helpers|types|misc)$`)
	for _, s := range sources(t) {
		if drawer.MatchString(s.file.Name.Name) {
			t.Errorf("%s: package %s says nothing about what is in it", s.path, s.file.Name.Name)
		}
	}
}

func TestNothingIsLeftUndone(t *testing.T) {
	undone := regexp.MustCompile(`\b(TODO|FIX` + `ME|XXX)\b`)
	for _, s := range sources(t) {
		if strings.HasPrefix(s.path, "test/house") {
			continue
		}
		if found := undone.FindString(s.text); found != "" {
			t.Errorf("%s: %s: build it, or write an issue", s.path, found)
		}
	}
}
