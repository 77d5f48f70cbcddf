// Command guest is what the tests run in containers: it does what its arguments say, one after the other.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	for _, arg := range os.Args[1:] {
		verb, value, _ := strings.Cut(arg, "=")
		switch verb {
		case "say":
			fmt.Println(value)
		case "warn":
			fmt.Fprintln(os.Stderr, value)
		case "env":
			fmt.Printf("%s=%s\n", value, os.Getenv(value))
		case "cat":
			data, err := os.ReadFile(value)
			fmt.Printf("%s: %s %v\n", value, data, err)
		case "write":
			name, data, _ := strings.Cut(value, ":")
			must(os.WriteFile(name, []byte(data), 0o644))
		case "id":
			groups, err := os.Getgroups()
			fmt.Println(os.Getuid(), os.Getgid(), groups, err)
		case "sleep":
			d, err := time.ParseDuration(value)
			must(err)
			select {
			case <-time.After(d):
			case <-term:
				fmt.Println("terminated")
				os.Exit(0)
			}
		case "await":
			for {
				if _, err := os.Stat(value); err == nil {
					break
				}
				time.Sleep(10 * time.Millisecond)
			}
		case "ignore":
			signal.Ignore(syscall.SIGTERM)
		case "serve":
			go func() { must(http.ListenAndServe(value, http.HandlerFunc(serve))) }()
		case "forever":
			<-term
			fmt.Println("terminated")
			os.Exit(0)
		case "exit":
			code, err := strconv.Atoi(value)
			must(err)
			os.Exit(code)
		case "grow":
			for all := [][]byte{}; ; {
				all = append(all, make([]byte, 1<<20))
				for i := range all[len(all)-1] {
					all[len(all)-1][i] = 1
				}
			}
		}
	}
}

// serve answers with the contents of the file that the path names: 200 if it is there, 503 if not.
func serve(w http.ResponseWriter, r *http.Request) {
	data, err := os.ReadFile(r.URL.Path)
	if err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	_, _ = io.WriteString(w, string(data))
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(99)
	}
}
