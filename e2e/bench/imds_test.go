package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestLoadRefusesAnotherBodyOfTheSameLength(t *testing.T) {
	t.Parallel()
	for _, size := range []int{5, 200_000} { // in one piece and in several
		address, _ := answering(t, http.StatusOK, strings.Repeat("x", size-1)+"y")
		for body, right := range map[string]bool{strings.Repeat("x", size-1) + "y": true, strings.Repeat("x", size): false} {
			order := Slice{[]Target{{Address: address, Path: "/a", Length: size, Body: body}}, 2, 20 * time.Millisecond}
			if err := generator(t).Call("Load.Run", order, &Rate{}); (err == nil) != right {
				t.Errorf("a body of %d bytes, right is %t: got error %v", size, right, err)
			}
		}
	}
}

func TestLoadSendsMethodAndHeader(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := fmt.Sprintf("%s %s %s", r.Method, r.URL.Path, r.Header.Get("A"))
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		w.Header().Set("Server", "x: y")
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(server.Close)
	target := Target{Address: strings.TrimPrefix(server.URL, "http://"), Method: "PUT", Path: "/a", Header: "A: b\r\n"}
	client := generator(t)
	var got Answer
	if err := client.Call("Load.Ask", target, &got); err != nil {
		t.Fatalf("ask: %v", err)
	}
	if string(got.Body) != "PUT /a b" {
		t.Errorf("the server saw %q", got.Body)
	}
	var header []string
	if err := client.Call("Load.Header", target, &header); err != nil {
		t.Fatalf("ask for the header: %v", err)
	}
	if diff := cmp.Diff([]string{"Server: x: y"}, header); diff != "" {
		t.Errorf("header (-want +got):\n%s", diff)
	}
}

// A mix counts what is wrong, and nothing else.
func TestMixCountsWrongAnswers(t *testing.T) {
	t.Parallel()
	const a, b = "/latest/meta-data/a", "/latest/meta-data/b"
	values := map[string]string{a: "of a", b: "of b"}
	token := strings.Repeat("t", tokenLength)
	for name, test := range map[string]struct {
		answer func(n int64, r *http.Request) (status int, life, body string)
		want   string // of the example
	}{
		"all is right": {func(int64, *http.Request) (int, string, string) { return 0, "", "" }, ""},
		"the value of another path": {func(n int64, r *http.Request) (int, string, string) {
			if n%10 == 0 && r.Method == http.MethodGet {
				return 200, "", values[map[string]string{a: b, b: a}[r.URL.Path]]
			}
			return 0, "", ""
		}, "that is not the one of this path"},
		"a token of another life": {func(n int64, r *http.Request) (int, string, string) {
			if n%10 == 0 && r.Method == http.MethodPut {
				return 200, "1", token
			}
			return 0, "", ""
		}, `a token for "1" seconds`},
		"a token of another length": {func(n int64, r *http.Request) (int, string, string) {
			if n%10 == 0 && r.Method == http.MethodPut {
				return 200, "", "t"
			}
			return 0, "", ""
		}, "the answer is no token, 1 bytes"},
		"an error": {func(n int64, _ *http.Request) (int, string, string) {
			if n%10 == 0 {
				return 503, "", ""
			}
			return 0, "", ""
		}, "503"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked, tokens, wrong atomic.Int64
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				status, life, body := test.answer(asked.Add(1), r)
				if r.Method == http.MethodPut {
					tokens.Add(1)
				}
				switch {
				case status != 0:
					wrong.Add(1)
				case r.Method == http.MethodPut:
					status, body = 200, token
				case r.Header.Get("X-aws-ec2-metadata-token") != token:
					status = 401
				default:
					status, body = 200, values[r.URL.Path]
				}
				if r.Method == http.MethodPut {
					if life == "" {
						life = r.Header.Get("X-aws-ec2-metadata-token-ttl-seconds")
					}
					w.Header().Set("X-aws-ec2-metadata-token-ttl-seconds", life)
				}
				w.Header().Set("Content-Length", fmt.Sprint(len(body)))
				w.WriteHeader(status)
				_, _ = io.WriteString(w, body)
			}))
			t.Cleanup(server.Close)
			// On a busy machine it may take several times until all has happened that
			// happens by chance.
			var got Mixed
			load := generator(t)
			order := Mix{strings.TrimPrefix(server.URL, "http://"), values, 4, 100 * time.Millisecond}
			for end := time.Now().Add(time.Minute); ; {
				var now Mixed
				if err := load.Call("Load.Mix", order, &now); err != nil {
					t.Fatalf("mix: %v", err)
				}
				got.Requests, got.Tokens, got.Wrong = got.Requests+now.Requests, got.Tokens+now.Tokens, got.Wrong+now.Wrong
				if now.Example != "" {
					got.Example = now.Example
				}
				mixed := got.Tokens > 0 && got.Tokens < got.Requests && (test.want == "" || wrong.Load() > 0)
				if mixed || time.Now().After(end) {
					break
				}
			}
			if got.Requests != asked.Load() || got.Tokens != tokens.Load() || got.Tokens == 0 || got.Tokens == got.Requests {
				t.Errorf("counted %d requests and %d tokens of %d and %d", got.Requests, got.Tokens, asked.Load(), tokens.Load())
			}
			if test.want != "" && wrong.Load() == 0 {
				t.Fatal("no answer was wrong")
			}
			if got.Wrong != wrong.Load() {
				t.Errorf("counted %d wrong answers of %d", got.Wrong, wrong.Load())
			}
			if (got.Example == "") != (test.want == "") || !strings.Contains(got.Example, test.want) {
				t.Errorf("example %q, want %q", got.Example, test.want)
			}
		})
	}
}
