package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/rpc"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// generator is a load generator of its own, reached as in a real run.
func generator(t *testing.T) *rpc.Client {
	t.Helper()
	server := rpc.NewServer()
	if err := server.Register(&Load{kept: map[Target][]*exchange{}}); err != nil {
		t.Fatalf("register: %v", err)
	}
	there := httptest.NewServer(server)
	t.Cleanup(there.Close)
	client, err := rpc.DialHTTPPath("tcp", strings.TrimPrefix(there.URL, "http://"), "/")
	if err != nil {
		t.Fatalf("dial: %v", err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// answering is a server that answers with a body, and counts.
func answering(t *testing.T, status int, body string) (address string, answered *atomic.Int64) {
	t.Helper()
	answered = &atomic.Int64{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		answered.Add(1)
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://"), answered
}

func TestLoadCountsRightAnswers(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, 1000, 200_000} {
		t.Run(fmt.Sprintf("%d bytes", size), func(t *testing.T) {
			t.Parallel()
			address, answered := answering(t, http.StatusOK, strings.Repeat("x", size))
			client := generator(t)
			order := Slice{[]Target{{Address: address, Path: "/a", Length: size}}, 3, 50 * time.Millisecond}
			var total int64
			for range 2 { // the second time on the same connections
				var rate Rate
				if err := client.Call("Load.Run", order, &rate); err != nil {
					t.Fatalf("run: %v", err)
				}
				total += rate.Requests
			}
			if total == 0 || total != answered.Load() {
				t.Errorf("counted %d requests, the server answered %d", total, answered.Load())
			}
		})
	}
}

func TestLoadRefusesWrongAnswers(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		status int
		body   string
		slack  int
		want   string
	}{
		"another status":                {http.StatusNotFound, "12345", 0, "want status 200, got: HTTP/1.1 404"},
		"another length":                {http.StatusOK, "1234", 0, "want a body of 5 bytes, got 4"},
		"a length outside of the slack": {http.StatusOK, "12345678", 2, "want a body of 5 bytes, got 8"},
		"a length within the slack":     {http.StatusOK, "1234567", 2, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address, _ := answering(t, test.status, test.body)
			order := Slice{[]Target{{Address: address, Path: "/a", Length: 5, Slack: test.slack}}, 2, 20 * time.Millisecond}
			err := generator(t).Call("Load.Run", order, &Rate{})
			got := ""
			if err != nil {
				got = err.Error()
			}
			if !strings.Contains(got, test.want) || (err == nil) != (test.want == "") {
				t.Errorf("got error %q, want %q", got, test.want)
			}
		})
	}
}

func TestLoadAsksOnce(t *testing.T) {
	t.Parallel()
	address, _ := answering(t, http.StatusTeapot, `"no"`)
	var got Answer
	if err := generator(t).Call("Load.Ask", Target{Address: address, Path: "/a"}, &got); err != nil {
		t.Fatalf("ask: %v", err)
	}
	if diff := cmp.Diff(Answer{http.StatusTeapot, "application/json", []byte(`"no"`)}, got); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
}

func TestBurstSeesDifferentAnswers(t *testing.T) {
	t.Parallel()
	var n atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		body := fmt.Sprint(n.Add(1) % 2)
		w.Header().Set("Content-Length", "1")
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(server.Close)
	var got BurstResult
	order := Burst{Target{Address: strings.TrimPrefix(server.URL, "http://"), Path: "/a"}, 10}
	if err := generator(t).Call("Load.Burst", order, &got); err != nil {
		t.Fatalf("burst: %v", err)
	}
	if got.Different != 2 || n.Load() != 10 {
		t.Errorf("%d requests with %d different answers, want 10 with 2", n.Load(), got.Different)
	}
}

func TestFakeSTSCounts(t *testing.T) {
	t.Parallel()
	s, err := startSTS()
	if err != nil {
		t.Fatalf("start: %v", err)
	}
	t.Cleanup(s.close)
	for _, action := range []string{"AssumeRole", "AssumeRole", "GetCallerIdentity"} {
		res, err := http.PostForm(s.url, url.Values{"Action": {action}, "RoleArn": {"arn:aws:iam::" + stsAccount + ":role/x"}})
		if err != nil {
			t.Fatalf("%s: %v", action, err)
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusOK {
			t.Errorf("%s: status %d", action, res.StatusCode)
		}
	}
	if diff := cmp.Diff([]int{2, 1, 3}, []int{s.count("AssumeRole"), s.count("GetCallerIdentity"), s.count("")}); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

// A missed target is said, and is no error.
func TestReportMarksWhatIsMissed(t *testing.T) {
	t.Parallel()
	r := newReport(options{})
	for path, rate := range map[string]float64{"/fast": 90, "/slow": 80} {
		own, bare := &side{rates: []float64{rate, rate, 1}}, &side{rates: []float64{100, 100, 100}}
		r.compared(newComparison(row{name: path, mustReach: 0.85}, 1, 10, own, bare))
	}
	r.add(newFigure("start", 1, "ms", 30, []float64{29, 31, 40}), newFigure("memory", 1, "MiB", 25, []float64{20}))
	var text bytes.Buffer
	if err := r.write(&text); err != nil {
		t.Fatalf("write: %v", err)
	}
	for _, want := range []string{
		"| **0.90** (0.01–0.90) | ≥ 0.85 | reached |", "| **0.80** (0.01–0.80) | ≥ 0.85 | missed |",
		"| start | 1 | **31.0 ms** (29.0–40.0) | ≤ 30.0 ms | missed |", "| memory | 1 | **20.0 MiB** | ≤ 25.0 MiB | reached |",
	} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the report lacks %q:\n%s", want, text.String())
		}
	}
}

func TestTablesGoBetweenTheMarks(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "doc.md")
	for _, tables := range []string{"first\n", "second\n"} {
		if tables == "first\n" {
			if err := os.WriteFile(path, []byte("before\n"+markBegin+"old\n"+markEnd+"\nafter\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := intoDocument(path, []byte(tables)); err != nil {
			t.Fatalf("write: %v", err)
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff("before\n"+markBegin+"\n"+tables+"\n"+markEnd+"\nafter\n", string(got)); diff != "" {
			t.Errorf("document (-want +got):\n%s", diff)
		}
	}
	if err := os.WriteFile(path, []byte("no marks\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := intoDocument(path, nil); err == nil {
		t.Error("a document without marks was accepted")
	}
}

// The bare handler answers with what it was told.
func TestBareHandler(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	var address string
	listen := func() {
		var err error
		if address, err = freeAddress("127.0.0.1"); err != nil {
			t.Fatal(err)
		}
		go func(at string) {
			ended <- serveBare(ctx, []string{"-listen", at, "-type", "text/plain", "-size", "5000"})
		}(address)
	}
	listen()
	var got Answer
	client := generator(t)
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		select {
		case err := <-ended:
			if !errors.Is(err, syscall.EADDRINUSE) {
				t.Fatalf("serve: %v", err)
			}
			listen() // somebody else was faster
		default:
		}
		got = Answer{}
		err := client.Call("Load.Ask", Target{Address: address, Path: "/"}, &got)
		if err == nil && got.ContentType == "text/plain" { // and not of somebody else
			break
		}
		if time.Now().After(end) {
			t.Fatalf("ask: %v", err)
		}
	}
	if got.Status != http.StatusOK || got.ContentType != "text/plain" || len(got.Body) != 5000 {
		t.Errorf("got status %d, %s, %d bytes", got.Status, got.ContentType, len(got.Body))
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("end: %v", err)
	}
}
