// SPDX-License-Identifier: Apache-2.0

// Package jobs is what the harness tells the first program of its machine.
package jobs

// File is where the list is, as JSON.
const File = "/jobs.json"

// List is what to load and to run.
type List struct {
	Modules []string
	Jobs    []Job
}

// Job is one test binary: the file test in Dir.
type Job struct {
	Dir  string
	Args []string
	Env  []string
}
