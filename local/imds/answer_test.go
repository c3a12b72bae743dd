package imds_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ecs-local/ecs-local/local/imds"
)

// ask describes a request in a table.
type ask struct {
	method, path string
	token        string // "": none; "valid": a valid one; else as it is
	empty        bool   // an empty token header
	ttl          string
	forwarded    bool
	keepAlive    bool
}

// show writes an answer as the real one would be seen, but for the body, of
// which only the length is told.
func show(r imds.Response) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d", r.Status)
	for name, value := range r.Headers {
		switch name {
		case "Server":
			continue
		case "Last-Modified":
			if _, err := time.Parse(time.RFC1123, value); err != nil || !strings.HasSuffix(value, "GMT") {
				value = "bad: " + value
			} else {
				value = "time"
			}
		}
		fmt.Fprintf(&b, " %s=%s", strings.NewReplacer("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "ttl", "Content-Length", "n", "Content-Type", "type",
			"Connection", "conn", "Accept-Ranges", "ranges", "Last-Modified", "modified", "Allow", "allow").Replace(name), value)
	}
	return b.String()
}

func TestAnswer(t *testing.T) {
	t.Parallel()
	const (
		leaf   = "/latest/meta-data/instance-id"
		value  = "200 type=text/plain ranges=none modified=time n=19 conn=close"
		value2 = "200 ttl=21600 type=text/plain ranges=none modified=time n=19 conn=close"
		no     = "404 type=text/html n=339 conn=close"
		no2    = "404 ttl=21600 type=text/html n=339 conn=close"
		deny   = "403 type=text/plain n=0 conn=close"
		deny2  = "403 ttl=21600 type=text/plain n=0 conn=close"
		who    = "401 type=text/plain n=0 conn=close"
		bad    = "400 type=text/plain n=0 conn=close"
		put    = "200 ttl=300 type=text/plain n=56 conn=close"
		method = "405 type=text/plain allow=OPTIONS, PUT n=0 conn=close"
	)
	const token = "/latest/api/token"
	// want is for optional tokens; required, where it is another.
	tests := map[string]struct {
		ask            ask
		want, required string
	}{
		"leaf, v1":                      {ask{path: leaf}, value, who},
		"leaf, v2":                      {ask{path: leaf, token: "valid"}, value2, ""},
		"leaf, bad token":               {ask{path: leaf, token: "bogus"}, who, ""},
		"leaf, bad token of 56":         {ask{path: leaf, token: strings.Repeat("A", 54) + "=="}, who, ""},
		"leaf, empty token":             {ask{path: leaf, empty: true}, who, ""},
		"leaf, keep-alive":              {ask{path: leaf, keepAlive: true}, strings.TrimSuffix(value, " conn=close"), "401 type=text/plain n=0"},
		"leaf, forwarded, v1":           {ask{path: leaf, forwarded: true}, value, who},
		"leaf, forwarded, v2":           {ask{path: leaf, token: "valid", forwarded: true}, deny2, ""},
		"leaf, forwarded, bad token":    {ask{path: leaf, token: "bogus", forwarded: true}, who, ""},
		"HEAD":                          {ask{method: "HEAD", path: leaf}, value, who},
		"HEAD of nothing":               {ask{method: "HEAD", path: "/latest/x", token: "valid"}, no2, ""},
		"POST":                          {ask{method: "POST", path: leaf}, deny, who},
		"POST, v2":                      {ask{method: "POST", path: leaf, token: "valid"}, deny2, ""},
		"DELETE, v2":                    {ask{method: "DELETE", path: leaf, token: "valid"}, deny2, ""},
		"PATCH of nothing, v2":          {ask{method: "PATCH", path: "/x", token: "valid"}, deny2, ""},
		"unknown method":                {ask{method: "BREW", path: leaf}, deny, who},
		"OPTIONS":                       {ask{method: "OPTIONS", path: leaf}, "200 type=text/plain allow=OPTIONS, GET, HEAD n=0 conn=close", who},
		"OPTIONS, v2":                   {ask{method: "OPTIONS", path: leaf, token: "valid"}, "200 ttl=21600 type=text/plain allow=OPTIONS, GET, HEAD n=0 conn=close", ""},
		"nothing, v1":                   {ask{path: "/nonsense"}, no, who},
		"nothing, v2":                   {ask{path: "/latest/meta-data/public-ipv4", token: "valid"}, no2, ""},
		"root":                          {ask{path: "/", token: "valid"}, "200 ttl=21600 type=text/plain ranges=none modified=time n=329 conn=close", ""},
		"no path":                       {ask{path: "", token: "valid"}, "200 ttl=21600 type=text/plain ranges=none modified=time n=329 conn=close", ""},
		"OPTIONS, forwarded, v2":        {ask{method: "OPTIONS", path: leaf, token: "valid", forwarded: true}, deny2, ""},
		"asterisk":                      {ask{method: "OPTIONS", path: "*", token: "valid"}, "200 ttl=21600 type=text/plain allow=OPTIONS, GET, HEAD n=0 conn=close", ""},
		"api is not listed":             {ask{path: "/latest/api", token: "valid"}, no2, ""},
		"token":                         {ask{method: "PUT", path: token, ttl: "300"}, put, ""},
		"token, slash":                  {ask{method: "PUT", path: token + "/", ttl: "300"}, put, ""},
		"token, double slash":           {ask{method: "PUT", path: "/latest//api/token", ttl: "300"}, put, ""},
		"token, longest":                {ask{method: "PUT", path: token, ttl: "21600"}, "200 ttl=21600 type=text/plain n=56 conn=close", ""},
		"token, shortest":               {ask{method: "PUT", path: token, ttl: "0"}, "200 ttl=0 type=text/plain n=56 conn=close", ""},
		"token, with one":               {ask{method: "PUT", path: token, ttl: "300", token: "valid"}, put, ""},
		"token, with a bad one":         {ask{method: "PUT", path: token, ttl: "300", token: "bogus"}, put, ""},
		"token, too long":               {ask{method: "PUT", path: token, ttl: "21601"}, bad, ""},
		"token, much too long":          {ask{method: "PUT", path: token, ttl: strings.Repeat("9", 40)}, bad, ""},
		"token, negative":               {ask{method: "PUT", path: token, ttl: "-1"}, bad, ""},
		"token, words":                  {ask{method: "PUT", path: token, ttl: "invalid"}, bad, ""},
		"token, no life":                {ask{method: "PUT", path: token}, bad, ""},
		"token, forwarded":              {ask{method: "PUT", path: token, ttl: "300", forwarded: true}, deny, ""},
		"token, forwarded, no life":     {ask{method: "PUT", path: token, forwarded: true}, deny, ""},
		"token, GET":                    {ask{path: token}, method, ""},
		"token, GET, v2":                {ask{path: token, token: "valid"}, method, ""},
		"token, POST":                   {ask{method: "POST", path: token, ttl: "300"}, method, ""},
		"token, OPTIONS":                {ask{method: "OPTIONS", path: token}, "200 type=text/plain allow=OPTIONS, PUT n=0 conn=close", ""},
		"token, dated":                  {ask{method: "PUT", path: "/2021-03-23/api/token", ttl: "300"}, deny, who},
		"token, dated, with one":        {ask{method: "PUT", path: "/2021-03-23/api/token", ttl: "300", token: "valid"}, deny2, ""},
		"slash":                         {ask{path: leaf + "/", token: "valid"}, value2, ""},
		"many slashes":                  {ask{path: "//latest///meta-data//instance-id//", token: "valid"}, value2, ""},
		"dot":                           {ask{path: "/latest/meta-data/./instance-id", token: "valid"}, value2, ""},
		"dots":                          {ask{path: "/latest/dynamic/../meta-data/instance-id", token: "valid"}, value2, ""},
		"dots above the root":           {ask{path: "/../../latest/meta-data/instance-id", token: "valid"}, value2, ""},
		"query":                         {ask{path: leaf + "?x=1", token: "valid"}, value2, ""},
		"query with dots":               {ask{path: leaf + "?/../..", token: "valid"}, value2, ""},
		"percent":                       {ask{path: "/latest/meta-data/%69nstance-id", token: "valid"}, value2, ""},
		"percent slash":                 {ask{path: "/latest/meta-data%2Finstance-id", token: "valid"}, value2, ""},
		"percent dots":                  {ask{path: "/latest/dynamic/%2e%2E/meta-data/instance-id", token: "valid"}, value2, ""},
		"percent, decoded once":         {ask{path: "/latest/meta-data/%2569nstance-id", token: "valid"}, no2, ""},
		"percent, broken":               {ask{path: "/latest/meta-data/%zz%", token: "valid"}, no2, ""},
		"case":                          {ask{path: "/latest/meta-data/Instance-id", token: "valid"}, no2, ""},
		"below a leaf":                  {ask{path: leaf + "/x", token: "valid"}, no2, ""},
		"below user-data":               {ask{path: "/latest/user-data/x", token: "valid"}, no2, ""},
		"between two versions":          {ask{path: "/2021-03-24/", token: "valid"}, no2, ""},
		"absent in this version":        {ask{path: "/2009-04-04/meta-data/placement/region", token: "valid"}, no2, ""},
		"absent directory":              {ask{path: "/1.0/dynamic/", token: "valid"}, no2, ""},
		"user data":                     {ask{path: "/latest/user-data", token: "valid"}, "200 ttl=21600 type=application/octet-stream ranges=none modified=time n=5 conn=close", ""},
		"user data, slash, old version": {ask{path: "/1.0/user-data/", token: "valid"}, "200 ttl=21600 type=application/octet-stream ranges=none modified=time n=5 conn=close", ""},
	}
	identity() // made outside the bubbles
	for _, tokens := range []string{imds.Optional, imds.Required} {
		for name, test := range tests {
			t.Run(tokens+", "+name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					s := serve(t, imds.Config{Options: imds.Options{HTTPTokens: tokens}, UserData: []byte("a\x00\xff\r\n")}, nil)
					a := test.ask
					r := imds.Request{
						Method: a.method, Path: a.path, Token: a.token, HasToken: a.token != "" || a.empty,
						TokenTTL: a.ttl, Forwarded: a.forwarded, KeepAlive: a.keepAlive,
					}
					if a.method == "" {
						r.Method = "GET"
					}
					if a.token == "valid" {
						r.Token = v2(t, s).token
					}
					want := test.want
					if tokens == imds.Required && test.required != "" {
						want = test.required
					}
					got := s.Answer(r)
					if diff := cmp.Diff(want, show(got)); diff != "" {
						t.Errorf("(-want +got):\n%s", diff)
					}
					switch {
					case r.Method == "HEAD" && got.Body != nil:
						t.Error("HEAD has a body")
					case r.Method != "HEAD" && len(got.Body) != got.ContentLength:
						t.Errorf("%d bytes of %d", len(got.Body), got.ContentLength)
					}
				})
			})
		}
	}
}

func TestEndpointDisabled(t *testing.T) {
	t.Parallel()
	s := serve(t, imds.Config{}, nil)
	c := v2(t, s)
	if err := s.SetOptions(imds.Options{HTTPEndpoint: imds.Disabled}); err != nil {
		t.Fatal(err)
	}
	for _, r := range []imds.Request{
		{Method: "GET", Path: "/"}, {Method: "PUT", Path: "/latest/api/token", TokenTTL: "60"}, {Method: "GET", Path: "/", Token: c.token, HasToken: true},
	} {
		if got := show(s.Answer(r)); got != "403 type=text/plain n=0 conn=close" {
			t.Errorf("%s %s: %s", r.Method, r.Path, got)
		}
	}
	if err := s.SetOptions(imds.Options{HTTPEndpoint: imds.Enabled}); err != nil {
		t.Fatal(err)
	}
	if got := c.status("instance-id"); got != 200 {
		t.Errorf("enabled again: %d", got)
	}
}

// TestHeaderOrder compares with what was seen on the wire.
func TestHeaderOrder(t *testing.T) {
	t.Parallel()
	s := serve(t, imds.Config{}, nil)
	c := v2(t, s)
	var got []string
	for name := range c.do("GET", "/latest/meta-data/mac").Headers {
		got = append(got, name)
	}
	want := []string{
		"X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "Content-Type", "Accept-Ranges", "Last-Modified", "Content-Length", "Server", "Connection",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestTokens(t *testing.T) {
	t.Parallel()
	issue := func(t *testing.T, s *imds.Service, ttl string) string {
		t.Helper()
		r := s.Answer(imds.Request{Method: "PUT", Path: "/latest/api/token", TokenTTL: ttl})
		if r.Status != 200 {
			t.Fatalf("status %d", r.Status)
		}
		return string(r.Body)
	}
	read := func(s *imds.Service, token string) (status, ttl int) {
		r := s.Answer(imds.Request{Method: "GET", Path: "/latest/meta-data/mac", Token: token, HasToken: true})
		return r.Status, r.TokenTTL
	}
	t.Run("remaining life", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s := serve(t, imds.Config{}, nil)
			token := issue(t, s, "300")
			start := time.Now()
			for _, at := range []struct {
				after       time.Duration
				status, ttl int
			}{
				{0, 200, 300},
				{time.Millisecond, 200, 300},
				{time.Second, 200, 299},
				{1500 * time.Millisecond, 200, 299},
				{299 * time.Second, 200, 1},
				{300*time.Second - time.Millisecond, 200, 1},
				{300 * time.Second, 401, -1},
				{time.Hour, 401, -1},
			} {
				time.Sleep(time.Until(start.Add(at.after)))
				if status, ttl := read(s, token); status != at.status || ttl != at.ttl {
					t.Errorf("after %s: %d, %d; want %d, %d", at.after, status, ttl, at.status, at.ttl)
				}
			}
		})
	})
	t.Run("without a life", func(t *testing.T) {
		t.Parallel()
		s := serve(t, imds.Config{}, nil)
		if status, ttl := read(s, issue(t, s, "0")); status != 401 || ttl != -1 {
			t.Errorf("%d, %d", status, ttl)
		}
	})
	t.Run("of another service", func(t *testing.T) {
		t.Parallel()
		a, b := serve(t, imds.Config{}, nil), serve(t, imds.Config{}, nil)
		if status, _ := read(b, issue(t, a, "60")); status != 401 {
			t.Errorf("status %d", status)
		}
	})
	t.Run("reloaded", func(t *testing.T) {
		t.Parallel()
		s := serve(t, imds.Config{}, nil)
		token := issue(t, s, "60")
		if err := s.Reload(imds.Config{Tags: map[string]string{"a": "b"}}); err != nil {
			t.Fatal(err)
		}
		if status, _ := read(s, token); status != 200 {
			t.Errorf("status %d", status)
		}
	})
	t.Run("changed", func(t *testing.T) {
		t.Parallel()
		s := serve(t, imds.Config{}, nil)
		token := issue(t, s, "60")
		const characters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_="
		for i := range token {
			for _, c := range []byte(characters) {
				if c == token[i] {
					continue
				}
				changed := token[:i] + string(c) + token[i+1:]
				if status, _ := read(s, changed); status != 401 {
					t.Fatalf("character %d as %c: status %d", i, c, status)
				}
			}
		}
		for _, changed := range []string{token + "A", token[:55], token[:54], " " + token, token + "\n", token[:20] + "\n" + token[21:]} {
			if status, _ := read(s, changed); status != 401 {
				t.Errorf("%d characters: status %d", len(changed), status)
			}
		}
	})
	t.Run("never twice the same", func(t *testing.T) {
		t.Parallel()
		s := serve(t, imds.Config{}, nil)
		seen := map[string]bool{}
		for range 1000 {
			token := issue(t, s, "60")
			if seen[token] || len(token) != 56 || !strings.HasSuffix(token, "==") || !strings.HasPrefix(token, "AQAE") {
				t.Fatal("a token is there twice, or has not the form of a real one")
			}
			seen[token] = true
		}
	})
}

func TestUserData(t *testing.T) {
	t.Parallel()
	data := []byte("#!/bin/sh\x00\x1f\x8b\xff\r\n")
	s := serve(t, imds.Config{UserData: data}, nil)
	c := v2(t, s)
	for _, v := range imds.Versions() {
		if r := c.do("GET", "/"+v+"/user-data"); !bytes.Equal(r.Body, data) || r.ContentType != "application/octet-stream" {
			t.Errorf("%s: %d bytes, %s", v, len(r.Body), r.ContentType)
		}
	}
	if err := s.RemoveValue("user-data"); err != nil {
		t.Fatal(err)
	}
	if r := c.do("GET", "/latest/user-data"); r.Status != 404 {
		t.Errorf("removed: %d", r.Status)
	}
	if r := c.do("GET", "/latest"); string(r.Body) != "dynamic\nmeta-data" {
		t.Errorf("removed: %q", r.Body)
	}
}
