package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

// answer is what came back for one URL, as one JSON line.
type answer struct {
	URL    string      `json:"url"`
	Status int         `json:"status"`
	Header http.Header `json:"header,omitempty"`
	Body   string      `json:"body"`
	Millis int64       `json:"millis"`
	Error  string      `json:"error,omitempty"`
}

// client follows no redirect: the tests want to see what was answered. It
// keeps no connection, so that every request is a caller of its own.
var client = &http.Client{
	Timeout:       30 * time.Second,
	Transport:     &http.Transport{DisableKeepAlives: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

func fetch(ctx context.Context, method, url string, header http.Header) answer {
	return send(ctx, method, url, header, nil)
}

// send is fetch with a body.
func send(ctx context.Context, method, url string, header http.Header, body io.Reader) answer {
	a := answer{URL: url}
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		a.Error = err.Error()
		return a
	}
	for key, values := range header {
		req.Header[key] = values
	}
	start := time.Now()
	res, err := client.Do(req)
	if err != nil {
		a.Error = err.Error()
		return a
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		a.Error = err.Error()
	}
	a.Millis = time.Since(start).Milliseconds()
	a.Status, a.Header, a.Body = res.StatusCode, res.Header, string(text)
	return a
}

// get asks for each URL and prints the answers as JSON lines.
func get(ctx context.Context, urls []string) int {
	out := json.NewEncoder(os.Stdout)
	code := 0
	for _, url := range urls {
		a := fetch(ctx, http.MethodGet, url, nil)
		if a.Error != "" {
			code = 1
		}
		if err := out.Encode(a); err != nil {
			return complain("write answer: %v", err)
		}
	}
	return code
}

// first asks for its own metadata before it does anything else, and says by
// its exit code whether the answer was about itself: 0 yes, 1 no.
func first(ctx context.Context, args []string) int {
	if len(args) != 1 {
		return complain("usage: first URL")
	}
	a := fetch(ctx, http.MethodGet, args[0], nil)
	var got struct {
		DockerID string `json:"DockerId"`
	}
	own, err := os.Hostname()
	if err == nil && a.Status == http.StatusOK && json.Unmarshal([]byte(a.Body), &got) == nil &&
		len(own) == 12 && strings.HasPrefix(got.DockerID, own) {
		return 0
	}
	if err := json.NewEncoder(os.Stdout).Encode(a); err != nil {
		return complain("write answer: %v", err)
	}
	return 1
}
