package handlers_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ecs-local/ecs-local/handlers"
	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/imds"
)

// recordedConfig is the instance of testdata/imds-recorded.json.
func recordedConfig() imds.Config {
	const name = "stackd-ec2-instances-d63233436ede"
	return imds.Config{
		Instance: imds.Instance{
			InstanceID: "i-04b098f5de41d11e6", AccountID: "111122223333", AvailabilityZoneID: "use1-az6", KeyName: name + "-metadata",
			PublicKey:   "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMwzgKuJiclqdh/o693yPiP+vxDYPitVluWP7NBfV63Z",
			PendingTime: time.Date(2026, 9, 26, 11, 3, 58, 0, time.UTC),
			Interface:   imds.Interface{SecurityGroups: []string{name}, SecurityGroupIDs: []string{"sg-0acbe6d1132ff8f15"}},
		},
		Options:  imds.Options{HTTPTokens: imds.Required, InstanceMetadataTags: imds.Enabled},
		Tags:     map[string]string{"suite": "ec2"},
		Role:     "ecsInstanceRole",
		UserData: append([]byte("#!/bin/sh\x00\xff\x00"), make([]byte, 8327-12)...),
	}
}

// What a client without an SDK sees on the wire, byte for byte.
func TestIMDSOverTCP(t *testing.T) {
	t.Parallel()
	s := serveInstance(t, recordedConfig())
	optional := recordedConfig()
	optional.Options.HTTPTokens = imds.Optional
	open := serveInstance(t, optional)
	session := s.token(t)
	with := imds.HeaderToken + ": " + session
	const ttl = imds.HeaderTokenTTL

	get := func(t *testing.T, target string) raw { return s.send(t, http.MethodGet, target, with) }
	want := func(t *testing.T, got raw, status int, kind, body string) {
		t.Helper()
		if got.status() != status || got.headers["Content-Type"] != kind || got.body != body {
			t.Errorf("%s, %q, %d bytes %.60q; want %d, %q, %d bytes %.60q",
				got.line, got.headers["Content-Type"], len(got.body), got.body, status, kind, len(body), body)
		}
		if !got.closed || got.headers["Server"] != "EC2ws" || got.headers["Date"] == "" {
			t.Errorf("closed %v, headers %v", got.closed, got.headers)
		}
	}
	living := func(t *testing.T, got raw) {
		t.Helper()
		if left, err := strconv.Atoi(got.headers[ttl]); err != nil || left < 21000 || left > 21600 { // minutes on a busy machine
			t.Errorf("%s: remaining life %q", got.line, got.headers[ttl])
		}
	}

	t.Run("1 a token", func(t *testing.T) {
		got := s.send(t, "PUT", "/latest/api/token", ttl+": 300")
		if !regexp.MustCompile(`^[A-Za-z0-9_=-]{56}$`).MatchString(got.body) || got.headers[ttl] != "300" || got.line != "HTTP/1.1 200 OK" {
			t.Errorf("%s, life %q, %d bytes", got.line, got.headers[ttl], len(got.body))
		}
		want(t, got, 200, "text/plain", got.body)
	})
	t.Run("2 lives of a token", func(t *testing.T) {
		got := s.send(t, "PUT", "/latest/api/token", ttl+": 0")
		if got.status() != 200 || got.headers[ttl] != "0" {
			t.Errorf("0: %s, life %q", got.line, got.headers[ttl])
		}
		want(t, s.send(t, "GET", "/latest/meta-data/instance-id", imds.HeaderToken+": "+got.body), 401, "text/plain", "")
		for _, life := range []string{"-1", "21601", "x"} {
			want(t, s.send(t, "PUT", "/latest/api/token", ttl+": "+life), 400, "text/plain", "")
		}
		want(t, s.send(t, "PUT", "/latest/api/token"), 400, "text/plain", "")
	})
	t.Run("3 forwarded and dated token requests", func(t *testing.T) {
		want(t, s.send(t, "PUT", "/latest/api/token", ttl+": 60", "X-Forwarded-For: 10.0.0.1"), 403, "text/plain", "")
		want(t, s.send(t, "PUT", "/latest/api/token", ttl+": 60", "X-Forwarded-For:"), 403, "text/plain", "")
		want(t, s.send(t, "PUT", "/2021-03-23/api/token", ttl+": 60"), 401, "text/plain", "")
		want(t, s.send(t, "PUT", "/2021-03-23/api/token", ttl+": 60", with), 403, "text/plain", "")
	})
	t.Run("4 who asks comes before what exists", func(t *testing.T) {
		want(t, s.send(t, "GET", "/latest/nonsense"), 401, "text/plain", "")
		want(t, s.send(t, "GET", "/0000-00-00/"), 401, "text/plain", "")
		want(t, open.send(t, "GET", "/latest/meta-data/instance-id", imds.HeaderToken+": bogus"), 401, "text/plain", "")
		want(t, open.send(t, "GET", "/latest/meta-data/instance-id", imds.HeaderToken+":"), 401, "text/plain", "")
		want(t, open.send(t, "GET", "/latest/meta-data/instance-id"), 200, "text/plain", "i-04b098f5de41d11e6")
		want(t, s.send(t, "GET", "/latest/meta-data/instance-id", imds.HeaderToken+": bogus", with), 401, "text/plain", "")
		want(t, s.send(t, "GET", "/latest/meta-data/instance-id", with, imds.HeaderToken+": bogus"), 200, "text/plain", "i-04b098f5de41d11e6")
	})
	t.Run("5 a listing with and without a slash", func(t *testing.T) {
		a, b := get(t, "/latest/meta-data"), get(t, "/latest/meta-data/")
		want(t, a, 200, "text/plain", b.body)
		if n := len(strings.Split(a.body, "\n")); n != 26 || strings.HasSuffix(a.body, "\n") {
			t.Errorf("%d lines: %q", n, a.body)
		}
	})
	t.Run("6 forms of a path", func(t *testing.T) {
		for _, target := range []string{"/latest/meta-data/instance-id/", "/latest//meta-data/instance-id", "//latest/meta-data/./instance-id",
			"/latest/meta-data/%69nstance-id", "/latest/meta-data/instance-id?x=1", "/latest/dynamic/../meta-data/instance-id",
			"http://169.254.169.254/latest/meta-data/instance-id"} {
			got := get(t, target)
			want(t, got, 200, "text/plain", "i-04b098f5de41d11e6")
			living(t, got)
		}
	})
	t.Run("7 what is absent", func(t *testing.T) {
		got := get(t, "/latest/meta-data/public-ipv4")
		want(t, got, 404, "text/html", got.body)
		living(t, got)
		if len(got.body) != 339 || !strings.HasSuffix(got.body, "</html>\n") {
			t.Errorf("%d bytes", len(got.body))
		}
	})
	t.Run("8 methods", func(t *testing.T) {
		head := s.send(t, "HEAD", "/latest/meta-data/instance-id", with)
		want(t, head, 200, "text/plain", "")
		if head.headers["Content-Length"] != "19" {
			t.Errorf("HEAD: length %q", head.headers["Content-Length"])
		}
		for _, method := range []string{"POST", "DELETE", "PATCH", "PROPFIND"} {
			got := s.send(t, method, "/latest/meta-data/instance-id", with, "Content-Length: 0")
			want(t, got, 403, "text/plain", "")
			living(t, got)
		}
		for _, target := range []string{"/latest/meta-data/instance-id", "/latest/"} {
			got := s.send(t, "OPTIONS", target, with)
			want(t, got, 200, "text/plain", "")
			if got.headers["Allow"] != "OPTIONS, GET, HEAD" {
				t.Errorf("OPTIONS %s: Allow %q", target, got.headers["Allow"])
			}
		}
		got := s.send(t, "GET", "/latest/api/token")
		want(t, got, 405, "text/plain", "")
		if got.headers["Allow"] != "OPTIONS, PUT" {
			t.Errorf("GET of a token: Allow %q", got.headers["Allow"])
		}
	})
	t.Run("9 versions", func(t *testing.T) {
		if n := len(strings.Split(get(t, "/1.0/meta-data/").body, "\n")); n != 9 {
			t.Errorf("%d names in 1.0", n)
		}
		for _, target := range []string{"/1.0/dynamic/", "/2021-03-24/", "/2009-04-04/meta-data/placement/region"} {
			want(t, get(t, target), 404, "text/html", get(t, "/latest/nothing").body)
		}
	})
	t.Run("10 public keys", func(t *testing.T) {
		want(t, get(t, "/latest/meta-data/public-keys"), 200, "text/plain", "0=stackd-ec2-instances-d63233436ede-metadata")
		if key := get(t, "/latest/meta-data/public-keys/0/openssh-key").body; !strings.HasSuffix(key, "\n") || strings.HasSuffix(key, "\n\n") {
			t.Errorf("key %q", key)
		}
		if got := get(t, "/latest/meta-data/system/x"); got.status() != 404 {
			t.Errorf("below a value: %s", got.line)
		}
	})
	t.Run("11 the identity document", func(t *testing.T) {
		document := get(t, "/latest/dynamic/instance-identity/document").body
		for _, line := range []string{"{\n  \"accountId\" : \"111122223333\",\n", "\n  \"billingProducts\" : null,\n", "\n  \"instanceId\" : \"i-04b098f5de41d11e6\",\n"} {
			if !strings.Contains(document, line) {
				t.Errorf("no %q in %s", line, document)
			}
		}
		if !json.Valid([]byte(document)) || strings.HasSuffix(document, "\n") {
			t.Errorf("document %s", document)
		}
	})
	t.Run("12 user data", func(t *testing.T) {
		want(t, get(t, "/latest/user-data"), 200, "application/octet-stream", string(recordedConfig().UserData))
		without := recordedConfig()
		without.UserData, without.Options.HTTPTokens = nil, imds.Optional
		bare := serveInstance(t, without)
		if got := bare.send(t, "GET", "/latest/user-data"); got.status() != 404 {
			t.Errorf("without user data: %s", got.line)
		}
		want(t, bare.send(t, "GET", "/latest"), 200, "text/plain", "dynamic\nmeta-data")
	})
	t.Run("13 connections and headers", func(t *testing.T) {
		got := get(t, "/latest/meta-data/instance-id")
		names := make([]string, 0, len(got.headers))
		for name := range got.headers {
			names = append(names, name)
		}
		slices.Sort(names)
		if diff := cmp.Diff([]string{"Accept-Ranges", "Connection", "Content-Length", "Content-Type", "Date", "Last-Modified", "Server", ttl}, names); diff != "" {
			t.Errorf("headers of a value (-want +got):\n%s", diff)
		}
		conn, err := net.Dial("tcp", s.address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		from := bufio.NewReader(conn)
		for range 3 {
			kept := exchange(t, conn, from, "GET", "/latest/meta-data/instance-id", with, "Connection: Keep-Alive")
			if kept.closed || kept.headers["Connection"] != "" || kept.body != "i-04b098f5de41d11e6" {
				t.Errorf("kept: %+v", kept)
			}
		}
		if last := exchange(t, conn, from, "GET", "/latest/meta-data/instance-id", with, "Connection: close"); !last.closed {
			t.Error("a connection that was to be closed is open")
		}
	})
	t.Run("a body is nobody's business", func(t *testing.T) {
		for _, length := range []int{10, 1 << 16} {
			r, _ := http.NewRequest(http.MethodPut, s.server.URL+"/latest/api/token", bytes.NewReader(make([]byte, length)))
			r.Header.Set(ttl, "60")
			answer, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			answer.Body.Close()
			if answer.StatusCode != http.StatusOK || answer.ContentLength != 56 {
				t.Errorf("with a body of %d bytes: %s, %d bytes", length, answer.Status, answer.ContentLength)
			}
		}
	})
	t.Run("OPTIONS of the server", func(t *testing.T) {
		h := newHandler(s.service, nopLog)
		r := atAddress(httptest.NewRequest("OPTIONS", "/", nil), local.IMDSAddress)
		r.RequestURI, r.URL = "*", &url.URL{Path: "*"}
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, r); w.Code != 401 {
			t.Errorf("without a token: %d", w.Code)
		}
		r.Header.Set(imds.HeaderToken, session)
		w = httptest.NewRecorder()
		if h.ServeHTTP(w, r); w.Code != 200 || w.Header().Get("Allow") != "OPTIONS, GET, HEAD" {
			t.Errorf("with a token: %d, Allow %q", w.Code, w.Header().Get("Allow"))
		}
	})
}

// Every question that a real instance was asked, over TCP.
func TestIMDSRecordedOverTCP(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../testdata/imds-recorded.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Requests []struct {
			Method, Path string
			Token        bool
			Status       int
			Headers      map[string]string
			Body         *string
		}
	}
	if err := json.Unmarshal(text, &file); err != nil || len(file.Requests) == 0 {
		t.Fatalf("%d rows, %v", len(file.Requests), err)
	}
	s := serveInstance(t, recordedConfig())
	session := s.token(t)
	for n, row := range file.Requests {
		var headers []string
		if row.Token {
			headers = append(headers, imds.HeaderToken+": "+session)
		}
		if row.Method == http.MethodPut {
			headers = append(headers, imds.HeaderTokenTTL+": 21600")
		}
		got := s.send(t, row.Method, row.Path, headers...)
		name := strconv.Itoa(n) + " " + row.Method + " " + row.Path
		if got.status() != row.Status {
			t.Errorf("%s: %s, want %d", name, got.line, row.Status)
		}
		for header, value := range row.Headers {
			if header != "Date" && header != "Last-Modified" && got.headers[header] != value {
				t.Errorf("%s: %s %q, want %q", name, header, got.headers[header], value)
			}
		}
		// Tokens are left out of the recording, and of the user data it has
		// only the length, which the headers compare.
		if row.Body != nil && row.Method != http.MethodPut && *row.Body != got.body {
			t.Errorf("%s (-want +got):\n%s", name, cmp.Diff(*row.Body, got.body))
		}
	}
}

// atAddress makes a request one that arrived at an address.
func atAddress(r *http.Request, address string) *http.Request {
	at := &net.TCPAddr{IP: net.ParseIP(address), Port: 80}
	r.Host, r.RemoteAddr = address, "172.18.0.3:40000"
	if at.IP.To4() == nil {
		r.Host = "[" + address + "]"
	}
	return r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, net.Addr(at)))
}

func TestEveryAddressServesItsOwn(t *testing.T) {
	t.Parallel()
	service := newService(t, imds.Config{})
	h := newHandler(service, nopLog)
	const other = "172.18.0.2"
	for _, row := range []struct {
		at, path string
		status   int
		kind     string
	}{
		{local.IMDSAddress, "/latest/meta-data/instance-id", 200, "text/plain"},
		{local.IMDSAddress, "/", 200, "text/plain"},
		{local.IMDSAddress, "/creds", 404, "text/html"},
		{local.IMDSAddress, "/v4", 404, "text/html"},
		{local.ECSAddress, "/latest/meta-data/instance-id", 404, "text/plain; charset=utf-8"},
		{local.ECSAddress, "/", 404, "text/plain; charset=utf-8"},
		{local.ECSAddress, "/creds", 200, "application/json"},
		{other, "/latest/meta-data/instance-id", 200, "text/plain"},
		{other, "//latest/meta-data/instance-id/", 200, "text/plain"},
		{other, "/%6catest/meta-data/instance-id", 200, "text/plain"},
		{other, "/2021-03-23/meta-data/instance-id", 200, "text/plain"},
		{other, "/2021-03-24/", 404, "text/html"},
		{other, "/", 200, "text/plain"},
		{other, "/v4", 200, "application/json"},
		{other, "/creds", 200, "application/json"},
		{other, "/nonsense", 404, "text/plain; charset=utf-8"},
		{other, "/latests", 404, "text/plain; charset=utf-8"},
		{other, "/2021-03-2x/", 404, "text/plain; charset=utf-8"},
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, atAddress(httptest.NewRequest(http.MethodGet, row.path, nil), row.at))
		if kind := w.Header().Get("Content-Type"); w.Code != row.status || kind != row.kind {
			t.Errorf("%s%s: %d %q, want %d %q", row.at, row.path, w.Code, kind, row.status, row.kind)
		}
	}
}

// A listener at the IPv6 address of the service answers only while the
// instance has IPv6 turned on.
func TestIMDSOverIPv6IsAnOption(t *testing.T) {
	t.Parallel()
	service := newService(t, imds.Config{})
	h := newHandler(service, nopLog)
	server := live(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(w, atAddress(r, "fd00:ec2::254")) }))
	if answer, err := http.Get(server.URL + "/latest/meta-data/instance-id"); err == nil {
		answer.Body.Close()
		t.Errorf("while it is off: %s", answer.Status)
	}
	if err := service.SetOptions(imds.Options{HTTPProtocolIPv6: imds.Enabled}); err != nil {
		t.Fatal(err)
	}
	answer, err := http.Get(server.URL + "/latest/meta-data/instance-id")
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Errorf("while it is on: %s", answer.Status)
	}
}

func TestIMDSIsGuardedAsTheRest(t *testing.T) {
	t.Parallel()
	s := serveInstance(t, imds.Config{})
	for name, row := range map[string]struct {
		host   string
		header http.Header
		status int
	}{
		"DNS rebinding":           {"attacker.example", nil, 403},
		"another site's script":   {local.IMDSAddress, http.Header{"Sec-Fetch-Site": {"cross-site"}}, 403},
		"another origin":          {local.IMDSAddress, http.Header{"Origin": {"https://attacker.example"}}, 403},
		"a name on a network":     {"imds", nil, 200},
		"an address with a port":  {"127.0.0.1:51679", nil, 200},
		"an SDK":                  {local.IMDSAddress, http.Header{"User-Agent": {"aws-sdk-go-v2/1.47.6"}, "Accept-Encoding": {"identity"}}, 200},
		"a name that is resolved": {"localhost:51679", nil, 200},
	} {
		r, _ := http.NewRequest(http.MethodGet, s.server.URL+"/latest/meta-data/instance-id", nil)
		r.Host = row.host
		if row.header != nil {
			r.Header = row.header
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != row.status {
			t.Errorf("%s: %s, want %d", name, answer.Status, row.status)
		}
	}
}

func TestIMDSLogHasNoPathAndNoSecret(t *testing.T) {
	t.Parallel()
	var text bytes.Buffer
	service := newService(t, imds.Config{Role: "web", Namespaces: map[string][]imds.TaskRole{
		"iam-ecs-1": {{Task: "5f0c1b7e9a2d4c3e8b6a7d1f20394857", RoleType: imds.TaskApplication, Role: "shop"}},
	}})
	h := handlers.NewIMDS(service, slog.New(slog.NewJSONHandler(&lockedWriter{w: &text}, nil)))
	ask := func(method, path string) string {
		r := httptest.NewRequest(method, path, nil)
		r.Header.Set(imds.HeaderTokenTTL, "60")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Body.String()
	}
	session := ask("PUT", "/latest/api/token")
	ask("GET", "/latest/meta-data/iam-ecs-1/security-credentials/5f0c1b7e9a2d4c3e8b6a7d1f20394857-TaskApplication")
	ask("GET", "/latest/meta-data/iam/security-credentials/web")
	ask("GET", "/latest/user-data")
	ask("GET", "/")
	ask("GET", "/creds")
	var routes []string
	for line := range strings.Lines(text.String()) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatal(err)
		}
		routes = append(routes, fields["family"].(string)+" "+fields["route"].(string)+" "+strconv.Itoa(int(fields["status"].(float64))))
	}
	if diff := cmp.Diff([]string{"imds token 200", "imds meta-data 200", "imds meta-data 200", "imds user-data 404", "imds versions 200", "imds none 404"}, routes); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, secret := range []string{secretKey, token, session, "5f0c1b7e", "security-credentials"} {
		if strings.Contains(text.String(), secret) {
			t.Errorf("the log holds a path or a secret")
		}
	}
}
