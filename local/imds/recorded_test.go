package imds_test

import (
	"bytes"
	"encoding/json"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/ecs-local/ecs-local/local/imds"
)

// recordedInstance is the instance of testdata/imds-recorded.json.
func recordedInstance() imds.Config {
	const name = "stackd-ec2-instances-d63233436ede"
	return imds.Config{
		Instance: imds.Instance{
			InstanceID: "i-04b098f5de41d11e6", AccountID: "111122223333", AvailabilityZoneID: "use1-az6",
			KeyName:     name + "-metadata",
			PublicKey:   "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMwzgKuJiclqdh/o693yPiP+vxDYPitVluWP7NBfV63Z",
			PendingTime: time.Date(2026, 9, 26, 11, 3, 58, 0, time.UTC),
			Interface:   imds.Interface{SecurityGroups: []string{name}, SecurityGroupIDs: []string{"sg-0acbe6d1132ff8f15"}},
		},
		Options:  imds.Options{HTTPTokens: imds.Required, InstanceMetadataTags: imds.Enabled},
		Tags:     map[string]string{"suite": "ec2"},
		Role:     "ecsInstanceRole",
		UserData: make([]byte, 8327),
	}
}

type recording struct {
	Method, Path string
	Token        bool
	Status       int
	Headers      map[string]string
	Body         *string
	BodyLength   int `json:"body_length"`
}

// recorded reads the rows.
func recorded(t testing.TB) []recording {
	t.Helper()
	text, err := os.ReadFile("../../testdata/imds-recorded.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Requests []recording }
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Requests) != 208 {
		t.Fatalf("%d rows, want 208", len(file.Requests))
	}
	return file.Requests
}

// Rows whose body cannot be compared byte for byte, and why. Everything else
// about them is compared.
var recordedShapes = map[string]struct {
	reason string
	shape  func([]byte) bool
}{
	"PUT /latest/api/token": {
		"the token is left out of the recording; ours has its length and characters",
		regexp.MustCompile(`^AQAE[A-Za-z0-9_-]{50}==$`).Match,
	},
	"GET /latest/user-data": {
		"the recording has only the length and a hash of the user data",
		func(b []byte) bool { return bytes.Equal(b, make([]byte, 8327)) },
	},
	"GET /2009-04-04/user-data": {
		"as /latest/user-data",
		func(b []byte) bool { return bytes.Equal(b, make([]byte, 8327)) },
	},
}

// TestRecorded asks every question that a real instance was asked and compares
// the answers.
func TestRecorded(t *testing.T) {
	t.Parallel()
	s := serve(t, recordedInstance(), (&counter{}).provide)
	shaped := map[string]bool{}
	for n, row := range recorded(t) {
		t.Run(strconv.Itoa(n)+" "+row.Method+" "+row.Path, func(t *testing.T) {
			c := v1(t, s)
			if row.Token {
				c = v2(t, s)
			}
			request := imds.Request{Method: row.Method, Path: row.Path, Token: c.token, HasToken: row.Token}
			if row.Method == "PUT" {
				request.TokenTTL = "21600"
			}
			r := s.Answer(request)
			got := map[string]string{}
			for name, value := range r.Headers {
				if _, ok := row.Headers[name]; ok {
					got[name] = value
				}
			}
			if r.Status != row.Status {
				t.Errorf("status %d, want %d", r.Status, row.Status)
			}
			if diff := cmp.Diff(row.Headers, got); diff != "" {
				t.Errorf("headers (-want +got):\n%s", diff)
			}
			if special, ok := recordedShapes[row.Method+" "+row.Path]; ok && row.Status == 200 {
				shaped[row.Method+" "+row.Path] = true
				if !special.shape(r.Body) {
					t.Errorf("the body, %d bytes, does not have its shape", len(r.Body))
				}
				return
			}
			if row.Body == nil {
				if len(r.Body) != row.BodyLength || row.BodyLength > 0 {
					t.Errorf("%d bytes, want %d: a row without a body needs a shape", len(r.Body), row.BodyLength)
				}
				return
			}
			if diff := cmp.Diff(strings.Split(*row.Body, "\n"), strings.Split(string(r.Body), "\n")); diff != "" {
				t.Errorf("body (-want +got):\n%s", diff)
			}
		})
	}
	if len(shaped) != len(recordedShapes) {
		t.Errorf("%d of %d rows compared by shape were met", len(shaped), len(recordedShapes))
	}
}
