package docker

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/docker/dockertest"
)

// secured serves an engine by TLS, for clients with a certificate, as CI
// services with Docker in Docker do. It returns its address, and a directory
// with what a client needs.
func secured(t *testing.T) (host string, certificates TLS) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	own, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}

	server := httptest.NewUnstartedServer(dockertest.New(t))
	clients := x509.NewCertPool()
	clients.AddCert(own)
	server.TLS = &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients, MinVersion: tls.VersionTLS12}
	server.StartTLS()
	t.Cleanup(server.Close)

	dir := t.TempDir()
	for name, block := range map[string]*pem.Block{
		"ca.pem":   {Type: "CERTIFICATE", Bytes: server.Certificate().Raw},
		"cert.pem": {Type: "CERTIFICATE", Bytes: der},
		"key.pem":  {Type: "PRIVATE KEY", Bytes: private},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return "tcp://" + server.Listener.Addr().String(), TLS{dir}
}

func TestAnEngineBehindTLS(t *testing.T) {
	t.Parallel()
	host, certificates := secured(t)
	_, others := secured(t)
	ping := func(host string, tls TLS) error {
		c, err := New(Options{Host: host, TLS: tls})
		if err != nil {
			return err
		}
		return c.Ping(t.Context())
	}
	if err := ping(host, certificates); err != nil {
		t.Errorf("with its certificates: %v", err)
	}
	plain := dockertest.New(t).Listen()
	socket := "unix://" + filepath.Join(t.TempDir(), "none.sock")
	for name, tc := range map[string]struct {
		host string
		tls  TLS
		code local.Code
		want string
	}{
		"without certificates":          {host, TLS{}, local.Unavailable, "speaks TLS only: set DOCKER_CERT_PATH"},
		"with others' certificates":     {host, others, local.Unavailable, "does not fit the certificates in DOCKER_CERT_PATH"},
		"TLS with a plain engine":       {plain, certificates, local.Unavailable, "does not fit the certificates in DOCKER_CERT_PATH"},
		"an empty directory":            {host, TLS{t.TempDir()}, local.Invalid, "has ca.pem, cert.pem and key.pem"},
		"no address, with certificates": {"tcp://[", certificates, local.Invalid, "is not the address of a Docker engine"},
		"a socket, which needs no TLS":  {socket, TLS{t.TempDir()}, local.Unavailable, "no Docker socket at"},
		"another form of the same host": {"https" + strings.TrimPrefix(host, "tcp"), TLS{t.TempDir()}, local.Invalid, "has ca.pem"},
	} {
		if err := ping(tc.host, tc.tls); local.CodeOf(err) != tc.code || !strings.Contains(local.MessageOf(err), tc.want) {
			t.Errorf("%s: got %v, want %q", name, err, tc.want)
		}
	}
}
