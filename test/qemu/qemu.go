// SPDX-License-Identifier: Apache-2.0

// Package qemu runs Go test binaries as root under Debian's kernel, in a machine that qemu emulates in software: for what the
// kernel of the machine at hand lacks, as IPVS or VLAN filtering. Nothing is installed: the kernel is downloaded from Debian
// and unpacked into a cache folder, and the file system of the machine is made anew for each boot, in memory.
//
//	kernel package ─unpack, depmod─▶ cache ─┐
//	test binaries, programs with libraries ─┴▶ initramfs ─boot▶ guest/init ─run each▶ output, exit code
package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// Machine is what to boot and run.
type Machine struct {
	Cache    string            // folder that keeps Debian's kernel
	Modules  []string          // kernel modules to load before anything runs; others are loaded as the kernel asks for them
	Programs []string          // programs of this machine that the tests run, besides those that every machine has
	Files    map[string]string // other files of this machine, by their paths in the other one
	Memory   int               // MiB; 0 is 1024
	Jobs     []Job
	Output   io.Writer // gets what the jobs print while they run
}

// Job is one test binary.
type Job struct {
	Binary string   // built without cgo
	Dir    string   // its package's folder: the machine has a copy of testdata in it
	Args   []string // as -test.run=Name
	Env    []string
}

// Failed is the error when a job ended with another code than 0.
type Failed struct{ Code int }

func (f Failed) Error() string {
	return fmt.Sprintf("a test in the machine ended with code %d", f.Code)
}

// always are the programs in every machine.
var always = []string{"sh", "ip", "nft", "iptables", "ip6tables", "iptables-save", "iptables-restore", "ip6tables-save", "ip6tables-restore", "ipvsadm", "modprobe"}

// Run boots the machine, runs the jobs one after the other until one fails, and returns Failed then.
func (m Machine) Run(ctx context.Context) error {
	k, err := fetchKernel(ctx, m.Cache)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "eastwest-qemu-")
	if err != nil {
		return fmt.Errorf("make a folder for the machine: %w", err)
	}
	defer os.RemoveAll(dir)
	initramfs, err := m.build(ctx, dir, k)
	if err != nil {
		return err
	}
	return m.boot(ctx, dir, k, initramfs)
}

// boot has three serial lines: the kernel's words, what the jobs print, and the code at the end.
func (m Machine) boot(ctx context.Context, dir string, k kernel, initramfs string) error {
	words, code := filepath.Join(dir, "console"), filepath.Join(dir, "code")
	memory := m.Memory
	if memory == 0 {
		memory = 1024
	}
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-machine", "q35,accel=tcg", "-cpu", "max", "-smp", "1", "-m", strconv.Itoa(memory),
		"-kernel", k.image, "-initrd", initramfs, "-append", "console=ttyS0 panic=-1 quiet rdinit=/init",
		"-serial", "file:"+words, "-serial", "stdio", "-serial", "file:"+code)
	var complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = m.Output, &complaint
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("run qemu: %w: %s%s", errors.Join(err, ctx.Err()), complaint.String(), tail(words))
	}
	text, err := os.ReadFile(code)
	if err != nil {
		return fmt.Errorf("read the machine's exit code: %w", err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return fmt.Errorf("the machine stopped before its tests had ended; its kernel said:\n%s", tail(words))
	}
	if n != 0 {
		return Failed{n}
	}
	return nil
}

// tail returns the last lines of a file, for an error.
func tail(file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-40):], "\n")
}
