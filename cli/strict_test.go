package cli

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ecs-local/ecs-local/handlers"
)

func TestRateLimitOfTheAgent(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]handlers.RateLimit{
		"":           {},
		"100,150":    {PerSecond: 100, Burst: 150},
		" 100 , 150": {PerSecond: 100, Burst: 150},
		"1,1":        {PerSecond: 1, Burst: 1},
	} {
		if got, ok := parseRateLimit(value); got != want || !ok {
			t.Errorf("%q: %+v %v", value, got, ok)
		}
	}
	for _, value := range []string{"100", "100,", ",150", "100,150,200", "0,150", "100,0", "-1,150", "100,-1", "1.5,2", "many,more", "99999999999999999999,1"} {
		if got, ok := parseRateLimit(value); got != (handlers.RateLimit{}) || ok {
			t.Errorf("%q: %+v %v", value, got, ok)
		}
	}
}

// The variables are read, and a broken limit is told of and left alone.
func TestServeStrictly(t *testing.T) {
	t.Setenv("ECS_LOCAL_STRICT", "true")
	for _, test := range []struct{ value, limit string }{{"", "40.00"}, {"100,150", "100.00"}, {"many", "40.00"}} {
		t.Setenv("ECS_TASK_METADATA_RPS_LIMIT", test.value)
		s := start(t, "--isolate-credentials=false")
		if told := strings.Contains(s.log.String(), "ECS_TASK_METADATA_RPS_LIMIT"); told != (test.value == "many") {
			t.Errorf("%q: told %v", test.value, told)
		}
		get(t, s.url+"/creds", http.StatusNotFound)
		get(t, s.url+"/v4/task/", http.StatusNotFound)
		get(t, s.url+"/latest/meta-data/instance-id", http.StatusOK)
		var tasks []struct {
			Containers []struct{ EndpointID string }
		}
		if err := json.Unmarshal(get(t, s.control+"/v1/tasks", http.StatusOK), &tasks); err != nil {
			t.Fatal(err)
		}
		id := tasks[0].Containers[0].EndpointID
		response, err := http.Get(s.url + "/v4/" + id)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if got := response.Header.Get("X-Rate-Limit-Limit"); got != test.limit || response.StatusCode != http.StatusOK {
			t.Errorf("%q: status %d, limit %q, want %q", test.value, response.StatusCode, got, test.limit)
		}
		// Static containers are on no network, as tasks in the mode bridge are.
		response, err = http.Post(s.url+"/api/"+id+"/fault/v1/network-latency/status", "", nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if want := `{"Error":"failed to get task metadata due to internal server error for container: ` + id + `"}`; err != nil || response.StatusCode != 500 || string(body) != want {
			t.Errorf("status %d, %s, error %v", response.StatusCode, body, err)
		}
		// What the log says to try is an answer of the agent.
		try := s.await(`try="?curl (http\S+?)"?\s`)[1]
		get(t, try, http.StatusBadRequest)
	}
}

// Check 4 of the agent's tests: a handler that is slower than the write timeout
// is the end of the connection for the client, which gets no status line.
func TestASlowAnswerIsNeverSentCheck4(t *testing.T) {
	t.Parallel()
	answers := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "late") })
	for timeout, late := range map[time.Duration]bool{time.Nanosecond: true, 0: false} { // nobody answers in a nanosecond
		s := server{name: "test", flag: "--listen", address: "127.0.0.1:0", handler: answers, writeTimeout: timeout}
		if err := s.listen(nil, slog.New(slog.DiscardHandler)); err != nil {
			t.Fatal(err)
		}
		go func() { _ = s.answer() }()
		t.Cleanup(func() { s.http.Close() })
		response, err := http.Get("http://" + s.listener.Addr().String())
		if late {
			if !errors.Is(err, io.EOF) {
				t.Errorf("error %v, response %v", err, response)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || string(body) != "late" {
			t.Errorf("got %q, error %v", body, err)
		}
	}
	// The limits are the agent's in strict mode, and else leave STS its time.
	if got := (&service{strict: true}).writeTimeout(); got != 5*time.Second {
		t.Errorf("strictly an answer may take %s", got)
	}
	if got := (&service{}).writeTimeout(); got != writeTimeout {
		t.Errorf("an answer may take %s", got)
	}
}
