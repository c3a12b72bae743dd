package imdsclient_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/imdsclient"
)

func TestGetReturnsTheBytes(t *testing.T) {
	t.Parallel()
	for name, value := range map[string]string{
		"text":               "t3.nano",
		"newline at the end": "ssh-ed25519 AAAA my-key\n",
		"empty":              "",
		"binary":             "\x00\xff\r\n\x1f\x8b",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, &fake{values: map[string]string{"/latest/user-data": value}}, imdsclient.Options{Timeout: patience})
			got, err := s.Get(t.Context(), "user-data")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(value, string(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
	t.Run("a content encoding is left alone", func(t *testing.T) {
		t.Parallel()
		f := instance()
		s := serve(t, f, imdsclient.Options{Timeout: patience})
		f.set(func(w http.ResponseWriter, r *http.Request) bool {
			if r.Header.Get("Accept-Encoding") != "" {
				t.Error("asked for an encoding")
			}
			w.Header().Set("Content-Encoding", "gzip")
			return false
		})
		s.wantValue(t)
	})
}

func TestPath(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                                   "/latest/meta-data",
		"/":                                  "/",
		"instance-id":                        "/latest/meta-data/instance-id",
		"tags/instance/aws:x":                "/latest/meta-data/tags/instance/aws:x",
		"meta-data":                          "/latest/meta-data",
		"meta-data/mac":                      "/latest/meta-data/mac",
		"dynamic/instance-identity/document": "/latest/dynamic/instance-identity/document",
		"user-data":                          "/latest/user-data",
		"api/token":                          "/latest/api/token",
		"latest":                             "/latest",
		"latest/user-data":                   "/latest/user-data",
		"1.0/meta-data/ami-id":               "/1.0/meta-data/ami-id",
		"2021-03-23/meta-data/":              "/2021-03-23/meta-data/",
		"/2021-03-23/meta-data/mac":          "/2021-03-23/meta-data/mac",
		"/instance-id":                       "/instance-id",
	} {
		if got := imdsclient.Path(text); got != want {
			t.Errorf("Path(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestPathsAreEncoded(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/a b", "/a?b", "/a#b", "/a%41", "/a\rb", "/tags/instance/aws:x+y=z", "//double/", "/ä"} {
		f := &fake{values: map[string]string{strings.TrimSuffix(path, "/"): "here"}}
		s := serve(t, f, imdsclient.Options{Timeout: patience})
		if got, err := s.Get(t.Context(), path); err != nil || string(got) != "here" {
			t.Errorf("%q: got %q, %v", path, got, err)
		}
	}
}

func TestSecret(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]bool{
		"iam/security-credentials/":                                     false,
		"iam/security-credentials/web":                                  true,
		"/2021-03-23/meta-data/iam/security-credentials/web/":           true,
		"iam/security-credentials-extended/web":                         true,
		"identity-credentials/ec2/security-credentials/ec2-instance":    true,
		"identity-credentials/ec2/info":                                 false,
		"iam-ecs-1/info":                                                false,
		"iam-ecs-1/security-credentials":                                false,
		"iam-ecs-1/security-credentials/5f0c1b7e9a2d4c3e-TaskExecution": true,
		"instance-id": false,
	} {
		if got := imdsclient.Secret(path); got != want {
			t.Errorf("Secret(%q) = %t", path, got)
		}
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	s := serve(t, &fake{values: map[string]string{
		"/latest/meta-data": "ami-id\niam-ecs-1/\n spaced\nreturned\r\nend\n",
		"/latest/empty":     "",
	}}, imdsclient.Options{Timeout: patience})
	got, err := s.List(t.Context(), "")
	if diff := cmp.Diff([]string{"ami-id", "iam-ecs-1/", " spaced", "returned\r", "end"}, got); diff != "" || err != nil {
		t.Error(err, diff)
	}
	if got, err := s.List(t.Context(), "/latest/empty"); len(got) != 0 || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if path := s.seen()[1].path; path != "/latest/meta-data" {
		t.Errorf("asked for %q, want it without a slash at the end", path)
	}
}

func TestEndpoint(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ endpoint, mode, want string }{
		{"", "", "http://169.254.169.254"},
		{"", "IPv4", "http://169.254.169.254"},
		{"", "ipv6", "http://[fd00:ec2::254]"},
		{"", "IPv5", ""},
		{"http://127.0.0.1:51679", "", "http://127.0.0.1:51679"},
		{"http://127.0.0.1:51679", "IPv6", "http://127.0.0.1:51679"},
		{"http://Host.Docker.Internal:80/latest/?a=b#c", "", "http://host.docker.internal"},
		{"https://imds:443/", "", "https://imds"},
		{"http://[::1]:8080", "", "http://[::1]:8080"},
		{"127.0.0.1:51679", "", ""},
		{"localhost", "", ""},
		{"ftp://localhost", "", ""},
		{"http://", "", ""},
		{"http://user:" + secret + "@localhost", "", ""},
		{"http://localhost:" + secret, "", ""},
	} {
		c, err := imdsclient.New(imdsclient.Options{Endpoint: tc.endpoint, Mode: tc.mode})
		if tc.want == "" {
			wantError(t, err, local.Invalid, "")
			continue
		}
		if err != nil || c.Endpoint() != tc.want {
			t.Errorf("%q, %q: %v, want %s", tc.endpoint, tc.mode, err, tc.want)
		}
	}
}

func TestOptionsThatMakeNoSense(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]imdsclient.Options{
		"token too short":    {TokenTTL: time.Millisecond},
		"token too long":     {TokenTTL: 7 * time.Hour},
		"token of the past":  {TokenTTL: -time.Second},
		"negative attempts":  {Attempts: -1},
		"negative timeout":   {Timeout: -1},
		"negative attempt":   {AttemptTimeout: -1},
		"negative body size": {MaxBytes: -1},
	} {
		_, err := imdsclient.New(opts)
		if local.CodeOf(err) != local.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDisabled(t *testing.T) {
	t.Parallel()
	s := serve(t, instance(), imdsclient.Options{Disabled: true})
	s.wantError(t, local.Denied, "unset AWS_EC2_METADATA_DISABLED")
	_, err := s.Walk(t.Context(), "", imdsclient.WalkOptions{})
	wantError(t, err, local.Denied, "turned off")
	s.wantCounts(t, 0, 0)
}

// TestMain names a proxy that reaches nothing.
func TestProxyIsNotUsed(t *testing.T) {
	t.Parallel()
	addresses := make(chan string, 10)
	c := newClient(t, imdsclient.Options{Timeout: patience, Attempts: 1, Dial: func(_ context.Context, _, address string) (net.Conn, error) {
		addresses <- address
		return nil, &net.OpError{Op: "dial", Err: errors.New("refused")}
	}})
	if _, err := c.Get(t.Context(), "instance-id"); err == nil {
		t.Error("no error")
	}
	if got := <-addresses; got != "169.254.169.254:80" {
		t.Errorf("connected to %s", got)
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	for _, status := range []int{301, 302, 307, 308} {
		f := instance()
		f.values["/elsewhere"] = secret
		f.before = func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodPut || r.URL.Path == "/elsewhere" {
				return false
			}
			http.Redirect(w, r, "/elsewhere", status)
			return true
		}
		s := serve(t, f, imdsclient.Options{Timeout: patience})
		s.wantError(t, local.Unavailable, fmt.Sprintf("redirects /latest/meta-data/instance-id (%d)", status))
		s.wantCounts(t, 1, 1)
	}
}

func TestAnswersAreBounded(t *testing.T) {
	t.Parallel()
	for size, ok := range map[int]bool{100: true, 101: false} {
		s := serve(t, &fake{values: map[string]string{"/x": strings.Repeat("x", size)}}, imdsclient.Options{Timeout: patience, MaxBytes: 100})
		_, err := s.Get(t.Context(), "/x")
		if ok && err != nil {
			t.Errorf("%d bytes: %v", size, err)
		}
		if !ok {
			wantError(t, err, local.Unavailable, "more than 100 bytes")
		}
		s.wantCounts(t, 1, 1)
	}
}

// What answers at the address may be anything.
func TestHostileAnswers(t *testing.T) {
	t.Parallel()
	endless := func(w http.ResponseWriter, chunk string) bool {
		for {
			if _, err := io.WriteString(w, chunk); err != nil {
				return true
			}
		}
	}
	raw := func(w http.ResponseWriter, text string) bool {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_, _ = io.WriteString(conn, text)
			_ = conn.Close()
		}
		return true
	}
	big := strings.Repeat("x", 1<<20)
	for name, tc := range map[string]struct {
		answer func(http.ResponseWriter) bool
		text   string
	}{
		"an endless value":         {func(w http.ResponseWriter) bool { return endless(w, big) }, "more than 1048576 bytes"},
		"an endless error":         {func(w http.ResponseWriter) bool { w.WriteHeader(403); return endless(w, big) }, "(403)"},
		"a giant header":           {func(w http.ResponseWriter) bool { w.Header().Set("X", big); return false }, "no whole answer arrives"},
		"a length that is too big": {func(w http.ResponseWriter) bool { return raw(w, "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nshort") }, "no whole answer arrives"},
		"a negative length":        {func(w http.ResponseWriter) bool { return raw(w, "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nx") }, "no whole answer arrives"},
		"two lengths": {func(w http.ResponseWriter) bool {
			return raw(w, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx")
		}, "no whole answer arrives"},
		"no HTTP": {func(w http.ResponseWriter) bool { return raw(w, "\x1b[31m secret") }, "no whole answer arrives"},
		"another protocol": {func(w http.ResponseWriter) bool {
			return raw(w, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nx")
		}, "status 101"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := instance()
			f.before = func(w http.ResponseWriter, r *http.Request) bool { return r.Method == http.MethodGet && tc.answer(w) }
			s := serve(t, f, imdsclient.Options{Timeout: patience})
			_, err := s.Get(t.Context(), "instance-id")
			if err == nil || !strings.Contains(err.Error(), tc.text) || strings.ContainsAny(err.Error(), "\x1b") {
				t.Errorf("got %v, want %q", err, tc.text)
			}
		})
	}
}

func TestNotFound(t *testing.T) {
	t.Parallel()
	s := serve(t, instance(), imdsclient.Options{Timeout: patience})
	_, err := s.Get(t.Context(), "spot/instance-action")
	wantError(t, err, local.NotFound, "/latest/meta-data/spot/instance-action is not in the instance metadata of http://169.254.169.254 (404)")
	_, err = s.List(t.Context(), "spot")
	wantError(t, err, local.NotFound, "imds ls")
	s.wantCounts(t, 1, 2)
}

func TestRetries(t *testing.T) {
	t.Parallel()
	get, put := http.MethodGet, http.MethodPut
	for name, tc := range map[string]struct {
		fault      func(http.ResponseWriter, *http.Request) bool
		puts, gets int
		code       local.Code
		text       string
	}{
		"429":                       {answer(get, 429), 1, 3, local.Unavailable, "(429 after 3 attempts)"},
		"500":                       {answer(get, 500), 1, 3, local.Unavailable, "(500 after 3 attempts)"},
		"502":                       {answer(get, 502), 1, 3, local.Unavailable, "(502 after 3 attempts)"},
		"503":                       {answer(get, 503), 1, 3, local.Unavailable, "ask less often"},
		"504":                       {answer(get, 504), 1, 3, local.Unavailable, "(504 after 3 attempts)"},
		"no answer":                 {hang(get), 1, 3, local.Timeout, "allow more time"},
		"connection closed":         {drop(get), 1, 3, local.Unavailable, "no whole answer arrives (3 attempts)"},
		"400 is final":              {answer(get, 400), 1, 1, local.Unavailable, "with status 400"},
		"403 is final":              {answer(get, 403), 1, 1, local.Denied, "HttpEndpoint"},
		"405 is final":              {answer(get, 405), 1, 1, local.Unavailable, "with status 405"},
		"501 is final":              {answer(get, 501), 1, 1, local.Unavailable, "with status 501"},
		"token: 503":                {answer(put, 503), 3, 0, local.Unavailable, "(503 after 3 attempts)"},
		"token: no answer":          {hang(put), 3, 0, local.Timeout, "hop limit (HttpPutResponseHopLimit) to 2"},
		"token: connection closed":  {drop(put), 3, 0, local.Unavailable, "hop limit (HttpPutResponseHopLimit) to 2"},
		"token: 400 is final":       {answer(put, 400), 1, 0, local.Invalid, "choose another lifetime"},
		"token: 403 is final":       {answer(put, 403), 1, 0, local.Denied, "X-Forwarded-For"},
		"token: 404 is final":       {answer(put, 404), 1, 0, local.Unavailable, "--allow-v1"},
		"token: 405 is final":       {answer(put, 405), 1, 0, local.Unavailable, "--allow-v1"},
		"token: redirect is final":  {answer(put, 301), 1, 0, local.Unavailable, "redirects /latest/api/token"},
		"token: empty":              {emptyToken, 1, 0, local.Unavailable, "something else"},
		"token: another one's":      {answer(put, 200), 2, 2, local.Denied, "refuses the token that it just issued"},
		"a page instead of a token": {page, 1, 0, local.Unavailable, "something else"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := instance()
				f.before = tc.fault
				s := serve(t, f, imdsclient.Options{})
				s.wantError(t, tc.code, tc.text)
				s.wantCounts(t, tc.puts, tc.gets)
				if got, want := s.Stats(), int64(tc.puts+tc.gets); got.Requests != want || got.Tokens != int64(tc.puts) {
					t.Errorf("counted %+v, want %d requests", got, want)
				}
			})
		})
	}
}

func emptyToken(_ http.ResponseWriter, r *http.Request) bool { return r.Method == http.MethodPut }

func page(w http.ResponseWriter, r *http.Request) bool {
	if r.Method != http.MethodPut {
		return false
	}
	_, _ = w.Write([]byte("<html>\n<body>" + secret + "</body>"))
	return true
}

func TestRetrySucceeds(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]func(string) func(http.ResponseWriter, *http.Request) bool{
		"503":               func(m string) func(http.ResponseWriter, *http.Request) bool { return answer(m, 503) },
		"connection closed": drop,
		"no answer":         hang,
	} {
		for _, method := range []string{http.MethodPut, http.MethodGet} {
			t.Run(name+" to "+method, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					f, failures := instance(), 0
					broken := fault(method)
					s := serve(t, f, imdsclient.Options{})
					f.set(func(w http.ResponseWriter, r *http.Request) bool {
						if r.Method == method && failures < 2 {
							failures++
							return broken(w, r)
						}
						return false
					})
					s.wantValue(t)
					if got, want := s.Stats(), (imdsclient.Stats{Requests: 4, Tokens: int64(f.count(http.MethodPut)), Retries: 2}); got != want {
						t.Errorf("counted %+v, want %+v", got, want)
					}
				})
			})
		}
	}
}

// gaps returns the times between the reads.
func (f *fake) gaps() []time.Duration {
	var last time.Time
	var gaps []time.Duration
	for _, r := range f.seen() {
		if r.method != http.MethodGet {
			continue
		}
		if !last.IsZero() {
			gaps = append(gaps, r.at.Sub(last))
		}
		last = r.at
	}
	return gaps
}

func TestBackoffGrowsAndIsSpread(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := instance()
		f.before = answer(http.MethodGet, 503)
		s := serve(t, f, imdsclient.Options{Attempts: 8, Timeout: time.Minute})
		s.wantError(t, local.Unavailable, "8 attempts")
		first := f.gaps()
		limit := 100 * time.Millisecond
		for i, gap := range first {
			if gap < limit/2 || gap >= limit {
				t.Errorf("wait %d is %v, want %v to %v", i+1, gap, limit/2, limit)
			}
			limit = min(2*limit, time.Second)
		}
		s.wantError(t, local.Unavailable, "8 attempts")
		if cmp.Equal(first, f.gaps()[8:]) {
			t.Error("waits are not spread")
		}
	})
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		header   func() string
		min, max time.Duration
		gets     int
	}{
		"seconds":             {func() string { return "7" }, 7 * time.Second, 7 * time.Second, 2},
		"a date":              {func() string { return time.Now().Add(7 * time.Second).UTC().Format(http.TimeFormat) }, 6 * time.Second, 7 * time.Second, 2},
		"less than usual":     {func() string { return "0" }, 50 * time.Millisecond, 100 * time.Millisecond, 2},
		"a date that is over": {func() string { return "Fri, 31 Dec 1999 23:59:59 GMT" }, 50 * time.Millisecond, 100 * time.Millisecond, 2},
		"not a time":          {func() string { return "soon" }, 50 * time.Millisecond, 100 * time.Millisecond, 2},
		"far too long":        {func() string { return "99999999" }, 30 * time.Second, 30 * time.Second, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := instance()
				f.before = func(w http.ResponseWriter, r *http.Request) bool {
					if f.count(http.MethodGet) != 1 {
						return false
					}
					w.Header().Set("Retry-After", tc.header())
					w.WriteHeader(http.StatusServiceUnavailable)
					return true
				}
				s := serve(t, f, imdsclient.Options{Timeout: time.Minute})
				s.wantValue(t)
				if got := f.gaps(); len(got) != 1 || got[0] < tc.min || got[0] > tc.max {
					t.Errorf("waited %v, want %v to %v", got, tc.min, tc.max)
				}
			})
		})
	}
	t.Run("beyond the timeout: no wait", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			f := instance()
			f.before = func(w http.ResponseWriter, r *http.Request) bool {
				w.Header().Set("Retry-After", "20")
				return answer(http.MethodGet, 503)(w, r)
			}
			s := serve(t, f, imdsclient.Options{})
			began := time.Now()
			s.wantError(t, local.Unavailable, "(503 after 1 attempt) and asks to wait 20s")
			if took := time.Since(began); took != 0 {
				t.Errorf("waited %v for nothing", took)
			}
		})
	})
}

func TestTimeout(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		opts imdsclient.Options
		want time.Duration
	}{
		"of all attempts": {imdsclient.Options{Attempts: 100, Timeout: 3 * time.Second}, 3 * time.Second},
		"of one attempt":  {imdsclient.Options{Attempts: 1, AttemptTimeout: 2 * time.Second}, 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := instance()
				f.before = hang(http.MethodGet)
				s := serve(t, f, tc.opts)
				began := time.Now()
				s.wantError(t, local.Timeout, "allow more time")
				if took := time.Since(began); took > tc.want || took < tc.want-time.Second {
					t.Errorf("took %v, want %v", took, tc.want)
				}
			})
		})
	}
	// "Allow more time" has to help with a service that is slow.
	for took, allowed := range map[time.Duration]time.Duration{1900 * time.Millisecond: 10 * time.Second, 11 * time.Second: time.Minute} {
		t.Run("a slow answer after "+took.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := instance()
				f.before = func(_ http.ResponseWriter, r *http.Request) bool {
					if r.Method == http.MethodGet {
						time.Sleep(took)
					}
					return false
				}
				s := serve(t, f, imdsclient.Options{Timeout: allowed})
				s.wantValue(t)
				s.wantCounts(t, 1, 1)
			})
		})
	}
	t.Run("a body that stops half way", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			f := instance()
			f.before = func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method == http.MethodPut {
					return false
				}
				w.Header().Set("Content-Length", "1000")
				_, _ = w.Write([]byte(secret))
				_ = http.NewResponseController(w).Flush()
				return hang(http.MethodGet)(w, r)
			}
			s := serve(t, f, imdsclient.Options{})
			s.wantError(t, local.Timeout, "no whole answer")
			s.wantCounts(t, 1, 3)
		})
	})
}

func TestContext(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]func(http.ResponseWriter, *http.Request) bool{
		"during the token": hang(http.MethodPut),
		"during the read":  hang(http.MethodGet),
		"between attempts": answer(http.MethodGet, 503),
	} {
		t.Run("cancelled "+name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := instance()
				f.before = fault
				s := serve(t, f, imdsclient.Options{AllowV1: true, Attempts: 100, Timeout: time.Hour})
				ctx, cancel := context.WithCancel(t.Context())
				began := time.Now()
				time.AfterFunc(10*time.Millisecond, cancel)
				if _, err := s.Get(ctx, "instance-id"); !errors.Is(err, context.Canceled) {
					t.Errorf("error %v", err)
				}
				if took := time.Since(began); took != 10*time.Millisecond {
					t.Errorf("ended after %v", took)
				}
			})
		})
	}
	t.Run("the caller's deadline is the caller's", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			f := instance()
			f.before = hang(http.MethodGet)
			s := serve(t, f, imdsclient.Options{})
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			defer cancel()
			if _, err := s.Get(ctx, "instance-id"); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("error %v", err)
			}
		})
	})
	t.Run("already cancelled: nothing is sent", func(t *testing.T) {
		t.Parallel()
		s := serve(t, instance(), imdsclient.Options{Timeout: patience})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := s.Get(ctx, "instance-id"); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
		s.wantCounts(t, 0, 0)
	})
}

func TestNobodyThere(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	// Nobody can listen where a connection begins, for as long as it lasts.
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	address := conn.LocalAddr().String()
	c := newClient(t, imdsclient.Options{Timeout: patience, Endpoint: "http://" + address})
	_, err = c.Get(t.Context(), "instance-id")
	wantError(t, err, local.Unavailable, "no instance metadata service at http://"+address+" (3 attempts): outside EC2, start `ecs-local serve`")

	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, imdsclient.Options{Dial: newNetwork().Dial}) // nobody accepts
		_, err = c.Get(t.Context(), "instance-id")
		wantError(t, err, local.Timeout, "no instance metadata service at http://169.254.169.254")
	})
}

// Errors of net/http quote what they do not understand.
func TestBrokenAnswersAreNotQuoted(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"no HTTP":           secret + "\r\n\r\n",
		"a bad status":      "HTTP/1.1 " + secret + "\r\n\r\n",
		"a bad header":      "HTTP/1.1 200 OK\r\n" + secret + "\r\n\r\n",
		"a bad length":      "HTTP/1.1 200 OK\r\nContent-Length: " + secret + "\r\n\r\n",
		"a bad encoding":    "HTTP/1.1 200 OK\r\nTransfer-Encoding: " + secret + "\r\n\r\n",
		"a bad chunk":       "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + secret + "\r\n\r\n",
		"less than it says": "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + secret,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := instance()
			f.before = func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method == http.MethodPut {
					return false
				}
				conn, _, err := http.NewResponseController(w).Hijack()
				if err != nil {
					t.Error(err)
					return true
				}
				_, _ = conn.Write([]byte(answer))
				_ = conn.Close()
				return true
			}
			s := serve(t, f, imdsclient.Options{Timeout: patience})
			s.wantError(t, local.Unavailable, "no whole answer arrives (3 attempts)")
		})
	}
}
