package handlers_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/ecs-local/ecs-local/handlers"
	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/authority"
	"github.com/ecs-local/ecs-local/local/imds"
)

// A client that trusts the authority of GET /v1/tls/ca and nothing else gets
// credentials and metadata, by HTTP/1.1 and HTTP/2.
func TestTLS(t *testing.T) {
	t.Parallel()
	a, err := authority.New()
	if err != nil {
		t.Fatal(err)
	}
	f := newFixture(t)
	f.runtime.dir.Store(local.NewDirectory(containers()[:1], "", local.Facts{}).Static())
	h := f.with(handlers.Deps{
		TaskCredentials: rolesOf(containers(), "shop"), IsolateCredentials: true, Authorization: wantsToken, AllowedHosts: []string{"ecs.example.test"}, IMDS: newService(t, imds.Config{}),
	})
	refusals := make(lines, 64)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{
		Handler: h, ConnContext: handlers.ConnContext, TLSConfig: a.TLSConfig(handlers.AllowedHost([]string{"ecs.example.test"})),
		ErrorLog: slog.NewLogLogger(slog.NewTextHandler(refusals, nil), slog.LevelInfo), ReadHeaderTimeout: longest,
	}
	served := make(chan error, 1)
	go func() { served <- server.ServeTLS(listener, "", "") }()
	stop := sync.OnceFunc(func() {
		server.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("serve: %v", err)
		}
	})
	t.Cleanup(stop)

	control := handlers.NewControl(handlers.ControlDeps{Runtime: f.runtime, Log: nopLog, CA: a.CertificatePEM})
	shown := f.serve(control, "GET", "/v1/tls/ca")
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(shown.Body.Bytes()) {
		t.Fatal("the control API shows no certificate")
	}
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	client := func(h2 bool) *http.Client {
		transport := &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: h2,
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, listener.Addr().String())
			},
		}
		if !h2 {
			transport.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
		}
		t.Cleanup(transport.CloseIdleConnections)
		return &http.Client{Transport: transport}
	}
	for version, c := range map[int]*http.Client{1: client(false), 2: client(true)} {
		for _, host := range []string{"127.0.0.1", "localhost", "ecs-local", "host.docker.internal", "ecs.example.test"} {
			for path, wants := range map[string]string{
				"/creds": `"SecretAccessKey":"` + secretKey, "/v2/credentials/id-of-shop": `"RoleArn":"arn:aws:iam::111122223333:role/shop-web-task"`,
				"/v1/credentials": `"AccountId":"111122223333"`, "/latest/meta-data/services/domain": "amazonaws.com",
			} {
				r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+net.JoinHostPort(host, port)+path, nil)
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("Authorization", authorizationToken)
				answer, err := c.Do(r)
				if err != nil {
					t.Fatalf("HTTP/%d %s%s: %v", version, host, path, err)
				}
				body, err := io.ReadAll(answer.Body)
				answer.Body.Close()
				if err != nil || answer.StatusCode != http.StatusOK || answer.ProtoMajor != version || !strings.Contains(string(body), wants) {
					t.Errorf("HTTP/%d %s%s: %s %s, %v, %d bytes", version, host, path, answer.Proto, answer.Status, err, len(body))
				}
			}
		}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://attacker.example/creds", nil)
		if err != nil {
			t.Fatal(err)
		}
		if answer, err := c.Do(r); err == nil {
			answer.Body.Close()
			t.Errorf("HTTP/%d: a name that is not answered has a certificate: %s", version, answer.Status)
		}
		for line := range refusals { // the log says why
			if strings.Contains(line, "attacker.example") {
				break
			}
		}
	}
	stop()
	for _, secret := range []string{secretKey, token, authorizationToken, "id-of-shop", "PRIVATE KEY"} {
		if strings.Contains(f.log.String(), secret) || strings.Contains(shown.Body.String(), secret) {
			t.Errorf("a secret is shown")
		}
	}
	if strings.Contains(f.log.String(), "hop limit") {
		t.Errorf("the log complains about hop limits")
	}
}

// lines is a log that can be waited for.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	l <- string(p)
	return len(p), nil
}

// An answer over HTTP/2 can be under way while another is written.
func TestTokensOverHTTP2(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(newHandler(newService(t, imds.Config{}), nopLog))
	server.Config.ConnContext, server.EnableHTTP2 = handlers.ConnContext, true
	server.StartTLS()
	t.Cleanup(server.Close)
	done := make(chan string)
	for range 16 {
		go func() {
			r, _ := http.NewRequest(http.MethodPut, server.URL+"/latest/api/token", nil)
			r.Header.Set(imds.HeaderTokenTTL, "60")
			answer, err := server.Client().Do(r)
			if err != nil {
				done <- err.Error()
				return
			}
			answer.Body.Close()
			done <- answer.Proto + " " + answer.Status
		}()
	}
	for range 16 {
		if got := <-done; got != "HTTP/2.0 200 OK" {
			t.Error(got)
		}
	}
}
