package handlers_test

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"testing"

	"github.com/ecs-local/ecs-local/handlers"
	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/imds"
)

// BenchmarkIMDS is what 8 kept-alive connections get out of the instance
// metadata service, beside a handler that does nothing but write as many bytes.
// Requests a second of the one over those of the other is the ratio that
// matters; the log is on, and goes to the null device.
func BenchmarkIMDS(b *testing.B) {
	service := newService(b, imds.Config{Role: "web"})
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer null.Close()
	log := slog.New(slog.NewTextHandler(null, nil))
	answer := service.Answer(imds.Request{Method: http.MethodPut, Path: "/latest/api/token", TokenTTL: "21600"})
	session := string(answer.Body)
	for _, work := range []struct{ name, method, path, header string }{
		{"v1", "GET", "/latest/meta-data/instance-id", "A: b"},
		{"v2", "GET", "/latest/meta-data/instance-id", imds.HeaderToken + ": " + session},
		{"token", "PUT", "/latest/api/token", imds.HeaderTokenTTL + ": 21600"},
	} {
		request := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: %s\r\nConnection: keep-alive\r\n%s\r\n\r\n", work.method, work.path, local.IMDSAddress, work.header)
		size := 0
		b.Run(work.name+"/imds", func(b *testing.B) {
			size = load(b, newHandler(service, log), request)
		})
		b.Run(work.name+"/bare", func(b *testing.B) {
			load(b, bare(size), request)
		})
	}
}

// bare writes answers of so many bytes, headers and all.
func bare(size int) http.Handler {
	const head = 17 + 37 + 26 + 21 + 2 // status line, Date, Content-Type, Content-Length of three digits, empty line
	body := make([]byte, max(size-head, 1))
	length := []string{strconv.Itoa(len(body))}
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		h["Content-Length"], h["Content-Type"] = length, []string{"text/plain"}
		_, _ = w.Write(body)
	})
}

// load sends the same request over and over on 8 connections and returns how
// long an answer is.
func load(b *testing.B, h http.Handler, request string) (size int) {
	server := live(b, h)
	const connections = 8
	conns := make([]net.Conn, connections)
	for n := range conns {
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		defer conn.Close()
		conns[n] = conn
		answer, err := ask(conn, bufio.NewReader(conn), request)
		if err != nil {
			b.Fatal(err)
		}
		size = answer
	}
	b.ReportAllocs()
	b.ResetTimer()
	var group sync.WaitGroup
	for n, conn := range conns {
		share := b.N / connections
		if n == 0 {
			share += b.N % connections
		}
		group.Go(func() {
			text, buffer := []byte(request), make([]byte, size)
			for range share {
				if _, err := conn.Write(text); err != nil {
					b.Error(err)
					return
				}
				if _, err := io.ReadFull(conn, buffer); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
	return size
}

// ask sends a request and returns the length of the answer.
func ask(conn net.Conn, from *bufio.Reader, request string) (int, error) {
	if _, err := io.WriteString(conn, request); err != nil {
		return 0, err
	}
	head, length := 0, 0
	for {
		line, err := from.ReadString('\n')
		if err != nil {
			return 0, err
		}
		head += len(line)
		if line == "\r\n" {
			break
		}
		_, _ = fmt.Sscanf(line, "Content-Length: %d", &length)
	}
	_, err := io.CopyN(io.Discard, from, int64(length))
	return head + length, err
}

// BenchmarkIMDSHandler is the cost of one request without the network.
func BenchmarkIMDSHandler(b *testing.B) {
	service := newService(b, imds.Config{})
	session := string(service.Answer(imds.Request{Method: http.MethodPut, Path: "/latest/api/token", TokenTTL: "21600"}).Body)
	log := slog.New(slog.NewTextHandler(&lockedWriter{w: io.Discard}, nil))
	r, _ := http.NewRequest(http.MethodGet, "http://169.254.169.254/latest/meta-data/instance-id", nil)
	r.RequestURI, r.RemoteAddr = "/latest/meta-data/instance-id", "172.18.0.3:40000"
	r.Header[imds.HeaderToken], r.Header["Connection"] = []string{session}, []string{"keep-alive"}
	for name, h := range map[string]http.Handler{
		"whole": newHandler(service, log), "whole without log": newHandler(service, nopLog), "adapter": handlers.NewIMDS(service, slog.New(slog.DiscardHandler)),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				h.ServeHTTP(discard{http.Header{}}, r)
			}
		})
	}
}
