// Command demo is the application of the quickstart: a web server that says which pod it is, so that one sees who answered. It listens on :8080.
// GET / greets, GET /call/<host> asks another one at that name, GET /ready answers 200 once it has started and 503 from SIGTERM on, so that its readiness probe takes it
// out of rotation. With --exit it says "done" and ends, as a job does.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"
)

// drain is how long the server goes on answering after SIGTERM: clients that were told its address a moment ago still come.
const drain = 4 * time.Second

func main() {
	if len(os.Args) > 1 && os.Args[1] == "--exit" {
		log.Print("done")
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	err := serve(ctx)
	stop()
	if err != nil {
		log.Fatal(err)
	}
}

func serve(ctx context.Context) error {
	pod, err := os.Hostname()
	if err != nil {
		return err
	}
	var ending atomic.Bool
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "%s from %s\n", greeting(), pod)
		log.Printf("greeted %s", r.RemoteAddr)
	})
	mux.HandleFunc("GET /call/{host}", func(w http.ResponseWriter, r *http.Request) {
		answer, err := call(r.Context(), r.PathValue("host"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		_, _ = fmt.Fprintf(w, "%s heard: %s", pod, answer)
	})
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, _ *http.Request) {
		if ending.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	server := &http.Server{Addr: ":8080", Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	ended := make(chan error, 1)
	go func() {
		<-ctx.Done()
		ending.Store(true)
		time.Sleep(drain)
		ended <- server.Shutdown(context.Background())
	}()
	log.Printf("pod %s listens on %s", pod, server.Addr)
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-ended
}

// callWithin is how long another one has to answer, its name's resolution included.
const callWithin = 4 * time.Second

// call returns how another one greets.
func call(ctx context.Context, host string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, callWithin)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+host+"/", nil)
	if err != nil {
		return "", err
	}
	response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(response.Body, 1<<10))
	return string(answer), err
}

func greeting() string {
	if g := os.Getenv("GREETING"); g != "" {
		return g
	}
	return "Hello"
}
