package creds_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/ecs-local/ecs-local/local/creds"
)

func TestProfileSaysWhereInstanceMetadataIs(t *testing.T) {
	home := setAWS(t, nil)
	file := writeFile(t, home, "config", `[default]
ec2_metadata_service_endpoint_mode = ipv6
[profile web]
ec2_metadata_service_endpoint = http://127.0.0.1:51679
ec2_metadata_service_endpoint_mode = IPv4
ec2_metadata_v1_disabled = true
[profile mode]
ec2_metadata_service_endpoint_mode = IPv5
[profile chain]
ec2_metadata_service_endpoint = http://127.0.0.1:51679
role_arn = arn:aws:iam::111122223333:role/x
source_profile = gone
`, 0o600)
	for name, test := range map[string]struct {
		profile, file string
		want          creds.Metadata
		fails         string
	}{
		"the default profile":     {"", file, creds.Metadata{Mode: "IPv6"}, ""},
		"a profile":               {"web", file, creds.Metadata{Endpoint: "http://127.0.0.1:51679", Mode: "IPv4", V1Disabled: true}, ""},
		"no such profile":         {"gone", file, creds.Metadata{}, ""},
		"no file":                 {"", filepath.Join(home, "gone"), creds.Metadata{}, ""},
		"a mode that is none":     {"mode", file, creds.Metadata{}, "must be either IPv6 or IPv4"},
		"a source that is gone":   {"chain", file, creds.Metadata{}, "source_profile"},
		"a file that is none":     {"", home, creds.Metadata{}, "cannot be read"},
		"the profile of no files": {"web", filepath.Join(home, "gone"), creds.Metadata{}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := creds.ProfileMetadata(t.Context(), test.profile, test.file, filepath.Join(home, "credentials"))
			if got != test.want || (err == nil) != (test.fails == "") || err != nil && !strings.Contains(err.Error(), test.fails) {
				t.Errorf("got %+v, %v; want %+v and an error with %q", got, err, test.want, test.fails)
			}
		})
	}
}
