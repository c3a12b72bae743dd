package cli

import (
	"bytes"
	"sync"
	"testing"
)

// As two servers that start at once in a new directory, or a server and
// "imds cert".
func TestKeysAreMadeOnce(t *testing.T) {
	t.Parallel()
	s := state{t.TempDir()}
	made := map[string]func() ([]byte, error){
		"key of ids": func() ([]byte, error) { return s.secret("") },
		"authority": func() ([]byte, error) {
			a, err := s.authority()
			if err != nil {
				return nil, err
			}
			return a.CertificatePEM(), nil
		},
		"identity": func() ([]byte, error) {
			identity, err := s.makeIdentity()
			if err != nil {
				return nil, err
			}
			return identity.Certificates()[0].PEM, nil
		},
	}
	for name, make := range made {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got [4][]byte
			var all sync.WaitGroup
			for i := range got {
				all.Go(func() {
					var err error
					if got[i], err = make(); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
			kept, err := make()
			if err != nil {
				t.Fatal(err)
			}
			for i := range got {
				if len(kept) == 0 || !bytes.Equal(got[i], kept) {
					t.Errorf("maker %d has other keys than those that are kept", i)
				}
			}
		})
	}
}
