package cli

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/ecs-local/ecs-local/local/metadatafile"
)

// newMetadataFiles makes the writer of the metadata files below a directory;
// empty: there is none, and containers that want a file are told of.
func newMetadataFiles(root string, s *service) (*metadatafile.Writer, error) {
	if root != "" {
		absolute, err := filepath.Abs(root)
		if err != nil {
			return nil, misuse{fmt.Errorf("--metadata-file-root %s: %w", root, err)}
		}
		root = absolute
	}
	return metadatafile.New(metadatafile.Options{Root: root, Host: s.host, Log: s.log}), nil
}

// host has the addresses of the instance, as its metadata service tells them.
func (s *service) host() metadatafile.Host {
	value := func(path string) string {
		text, err := s.instance.service.Value("meta-data/" + path)
		if err != nil {
			return "" // the instance has none
		}
		return strings.TrimSpace(string(text))
	}
	return metadatafile.Host{PrivateIPv4: value("local-ipv4"), PublicIPv4: value("public-ipv4"), IPv6: value("ipv6")}
}
