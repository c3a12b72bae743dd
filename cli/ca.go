package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
)

// caCommand is "ecs-local ca".
type caCommand struct {
	controlFlags
	Bundle bool `help:"The certificates that this machine trusts too, for variables that replace these: AWS_CA_BUNDLE, SSL_CERT_FILE."`
}

// Run asks GET /v1/tls/ca.
func (c caCommand) Run(ctx context.Context, env environment) error {
	certificate, err := c.authority(ctx)
	if err != nil {
		return err
	}
	if c.Bundle {
		trusted, err := trustedHere()
		if err != nil {
			return err
		}
		certificate = append(certificate, trusted...)
	}
	_, err = env.stdout.Write(certificate)
	return err
}

// authority returns the certificate of the authority behind --tls-listen, as
// PEM.
func (f controlFlags) authority(ctx context.Context) ([]byte, error) {
	var certificate []byte
	err := f.call(ctx, http.MethodGet, "/v1/tls/ca", nil, &certificate)
	return certificate, err
}

// bundles are where systems keep the certificates that they trust.
var bundles = []string{
	"/etc/ssl/certs/ca-certificates.crt",                // Debian, Ubuntu, Alpine, Arch
	"/etc/pki/tls/certs/ca-bundle.crt",                  // Amazon Linux, Fedora
	"/etc/ssl/cert.pem",                                 // macOS, Alpine, BSD
	"/etc/ssl/ca-bundle.pem",                            // openSUSE
	"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // ecs-local's image
}

// trustedHere returns the certificates that this machine trusts, as PEM.
func trustedHere() ([]byte, error) {
	for _, path := range bundles {
		content, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read the certificates that this machine trusts: %w", err)
		}
		return append([]byte("\n"), content...), nil
	}
	return nil, nil
}

// keepAuthority writes the authority's certificate where programs of this user
// can read it: alone, and together with those that the machine trusts.
func keepAuthority(certificate []byte) (alone, bundle string, err error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", "", fmt.Errorf("find a directory for the certificate: %w: set HOME or XDG_CACHE_HOME", err)
	}
	dir = filepath.Join(dir, "ecs-local")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", "", fmt.Errorf("keep the certificate: %w", err)
	}
	trusted, err := trustedHere()
	if err != nil {
		return "", "", err
	}
	kept := state{dir}
	alone, bundle = "tls-authority.pem", "tls-bundle.pem"
	err = errors.Join(kept.write(alone, certificate), kept.write(bundle, append(certificate, trusted...)))
	if err != nil {
		return "", "", fmt.Errorf("keep the certificate: %w", err)
	}
	return filepath.Join(dir, alone), filepath.Join(dir, bundle), nil
}
