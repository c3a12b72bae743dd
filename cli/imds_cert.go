package cli

import (
	"fmt"
	"log/slog"
)

// imdsCertCommand is "ecs-local imds cert".
type imdsCertCommand struct {
	Signature string `arg:"" optional:"" enum:"signature,pkcs7,rsa2048," default:"" help:"Which signature the certificate is to verify: signature, pkcs7 or rsa2048 (all)."`
	StateDir  string `env:"ECS_LOCAL_STATE_DIR" placeholder:"DIR" help:"The state directory of the server."`
}

// Run prints certificates in PEM. A server that has not been started yet will
// use the keys that are made here.
func (c imdsCertCommand) Run(env environment) error {
	s, err := openState(c.StateDir, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	if s.dir == "" {
		return fmt.Errorf("there is no state directory, so every server has certificates of its own: start it with --state-dir, and name the directory here too")
	}
	identity, err := s.identity()
	if err == nil && identity == nil {
		identity, err = s.makeIdentity()
	}
	if err != nil {
		return err
	}
	for _, certificate := range identity.Certificates() {
		if c.Signature != "" && c.Signature != certificate.Name {
			continue
		}
		if c.Signature == "" {
			// PEM ignores what is around the blocks.
			fmt.Fprintln(env.stdout, certificate.Name)
		}
		if _, err := env.stdout.Write(certificate.PEM); err != nil {
			return err
		}
	}
	return nil
}
