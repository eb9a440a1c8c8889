// SPDX-License-Identifier: Apache-2.0

// Command pod is the program of the tests' containers.
package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) < 2 {
		os.Args = append(os.Args, "serve")
	}
	switch os.Args[1] {
	case "serve":
		serve()
	case "echo":
		fmt.Println(strings.Join(os.Args[2:], " "))
	case "fail":
		code, _ := strconv.Atoi(os.Args[2])
		fmt.Fprintln(os.Stderr, "failing")
		os.Exit(code)
	case "cat":
		raw, err := os.ReadFile(os.Args[2])
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Stdout.Write(raw)
	case "lines":
		in := bufio.NewScanner(os.Stdin)
		for in.Scan() {
			fmt.Println("got", in.Text())
		}
	case "id":
		host, _ := os.Hostname()
		groups, _ := os.Getgroups()
		dir, _ := os.Getwd()
		fmt.Println(host, os.Getuid(), os.Getgid(), groups, dir, os.Getpid(), os.Getenv("HOME"))
	case "tcp":
		echoTCP(os.Args[2])
	case "write":
		if err := os.WriteFile(os.Args[2], []byte("x"), 0o644); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
		fmt.Println("ready")
		time.Sleep(time.Hour)
	case "talk":
		for i := 0; ; i++ {
			fmt.Println("line", i)
			time.Sleep(time.Millisecond)
		}
	case "late":
		late()
	case "eat":
		eat()
	}
}

// serve prints a line on each stream and then sleeps until SIGTERM, of which it takes leave.
func serve() {
	ch := make(chan os.Signal, 1)
	signal.Notify(ch, syscall.SIGTERM)
	fmt.Println("hello")
	fmt.Fprintln(os.Stderr, "warning")
	<-ch
	fmt.Println("bye")
}

// late has no handler for SIGTERM until the file /listen is there, and then does as serve.
func late() {
	signal.Ignore(syscall.SIGTERM)
	fmt.Println("deaf")
	for {
		if _, err := os.Stat("/listen"); err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	serve()
}

// echoTCP answers every connection with what it sends.
func echoTCP(addr string) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		panic(err)
	}
	for {
		c, err := l.Accept()
		if err != nil {
			panic(err)
		}
		go func() {
			defer c.Close()
			io.Copy(c, c)
		}()
	}
}

// eat uses memory until it is killed.
func eat() {
	var keep [][]byte
	for {
		b := make([]byte, 1<<20)
		for i := range b {
			b[i] = 1
		}
		keep = append(keep, b)
	}
}
