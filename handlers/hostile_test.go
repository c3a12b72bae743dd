package handlers_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/ecs-local/ecs-local/local"
)

// Docker does not tell all addresses of a container: IPv6 gives it a link-local
// one, and link_local_ips or the container itself may add others.
func TestControlRefusesAddressesThatOnlyContainersHave(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const refused, answered = http.StatusForbidden, http.StatusOK
	f.check(f.control, []call{
		{name: "link-local IPv6", path: "/v1/tasks", from: "fe80::42:acff:fe12:3%eth0", status: refused, contains: "fe80::42:acff:fe12:3%eth0 is an address on their networks"},
		{name: "link-local IPv6 without a zone", path: "/v1/tasks", from: "fe80::1", status: refused},
		{name: "link-local IPv4", path: "/v1/tasks", from: "169.254.9.9", status: refused},
		{name: "link-local IPv4 in IPv6", path: "/v1/tasks", from: "::ffff:169.254.9.9", status: refused},
		{name: "an address on the network that no container has", path: "/v1/tasks", from: "172.18.9.9", status: refused, contains: "published on 127.0.0.1"},
		{name: "the same in IPv6", path: "/v1/tasks", from: "::ffff:172.18.9.9", status: refused},
		{name: "a change", method: "POST", path: "/v1/reset", from: "172.18.9.9", status: refused},
		{name: "the host", path: "/v1/tasks", from: "172.18.0.1", status: answered},
		{name: "the host in IPv6", path: "/v1/tasks", from: "::ffff:172.18.0.1", status: answered},
		{name: "loopback", path: "/v1/tasks", from: "::1", status: answered},
		{name: "somebody far away", path: "/v1/tasks", from: "192.0.2.7", status: answered},
	})
	if log := f.log.String(); strings.Count(log, `"msg":"request refused"`) != 7 {
		t.Errorf("not each refusal has its line:\n%s", log)
	}
}

// While Docker does not answer, a container that has just started is unknown.
func TestControlRefusesWhomItCannotTellFromAContainer(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.runtime.stale.Store(true)
	f.runtime.refresh = func() (*local.Directory, error) {
		return nil, local.Errorf(local.Unavailable, "the Docker engine does not answer: start it")
	}
	f.check(f.control, []call{
		{name: "nobody that is known", path: "/v1/tasks", from: "10.1.2.3", status: 503, contains: "10.1.2.3 is one cannot be told: the Docker engine does not answer"},
		{name: "a known container", path: "/v1/tasks", from: "172.18.0.3", status: 403, contains: "you are shop-web-1"},
		{name: "the host", path: "/v1/tasks", from: "172.18.0.1", status: 200},
		{name: "loopback", path: "/healthz", from: "127.0.0.1", status: 200},
	})
}

// An id of credentials that is sent to the wrong place stays out of the log.
func TestTheLogHasNoPaths(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	const id = "0d5b1f3e-8c1a-8f00-9c3d-1f2e3d4c5b6a"
	for _, path := range []string{"/v2/credentials/" + id, "/" + id, "/v1/tasks/" + id, "//" + id + "/", "/v1/imds/values/" + id, "/v4/" + id + "/credentials", "/api/" + id + "/nonsense"} {
		for _, method := range []string{"GET", "POST", "OPTIONS"} {
			f.do(f.control, call{method: method, path: path, from: "127.0.0.1"})
			f.do(f.handler, call{method: method, path: path})
		}
	}
	if log := f.log.String(); strings.Contains(log, id) || !strings.Contains(log, `"route":"none"`) {
		t.Errorf("the log has a path, or nothing:\n%s", log)
	}
}

func TestGuardOnTheWire(t *testing.T) {
	t.Parallel()
	f := newFixture(t, "ecs.example.test")
	const ok, refused, malformed = "200", "403", "400"
	tests := []struct{ name, request, status string }{
		{"as SDKs ask", "GET PATH HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", ok},
		{"two hosts", "GET PATH HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: attacker.example\r\n\r\n", malformed},
		{"no host", "GET PATH HTTP/1.1\r\n\r\n", malformed},
		{"HTTP/0.9", "GET PATH\r\n\r\n", malformed},
		{"absolute form", "GET http://attacker.examplePATH HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", refused},
		{"user in the host", "GET PATH HTTP/1.1\r\nHost: 127.0.0.1@attacker.example\r\n\r\n", malformed},
		{"encoded dot", "GET PATH HTTP/1.1\r\nHost: attacker%2eexample\r\n\r\n", refused},
		{"zone with dots", "GET PATH HTTP/1.1\r\nHost: [::1%25.attacker.example]\r\n\r\n", refused},
		{"address in the name", "GET PATH HTTP/1.1\r\nHost: [::1].attacker.example\r\n\r\n", refused},
		{"short address", "GET PATH HTTP/1.1\r\nHost: 127.1\r\n\r\n", refused},
		{"IPv4 in IPv6", "GET PATH HTTP/1.1\r\nHost: [::ffff:127.0.0.1]\r\n\r\n", ok},
		{"sandboxed frame", "GET PATH HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: null\r\n\r\n", refused},
		{"file", "GET PATH HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: file://\r\n\r\n", refused},
		{"extension", "GET PATH HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: chrome-extension://127.0.0.1\r\n\r\n", refused},
		{"origin without a scheme", "GET PATH HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: //127.0.0.1\r\n\r\n", refused},
		{"origin with a user", "GET PATH HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://user@127.0.0.1\r\n\r\n", refused},
		{"two origins", "GET PATH HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://127.0.0.1\r\nOrigin: http://attacker.example\r\n\r\n", refused},
		{"own origin", "GET PATH HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://127.0.0.1\r\nSec-Fetch-Site: same-origin\r\n\r\n", ok},
		{"listed origin", "GET PATH HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: https://ecs.example.test\r\nSec-Fetch-Site: cross-site\r\n\r\n", ok},
		{"WebSocket", "GET PATH HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://attacker.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n", refused},
		{"link on another site", "GET PATH HTTP/1.1\r\nHost: 127.0.0.1\r\nSec-Fetch-Site: cross-site\r\n\r\n", refused},
		{"a site that is new to us", "GET PATH HTTP/1.1\r\nHost: 127.0.0.1\r\nSec-Fetch-Site: Cross-Site\r\n\r\n", refused},
		{"preflight", "OPTIONS PATH HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://attacker.example\r\nAccess-Control-Request-Method: PUT\r\nAccess-Control-Request-Private-Network: true\r\n\r\n", refused},
		{"form", "POST PATH HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://attacker.example\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}", refused},
		{"two lengths", "POST PATH HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}", malformed},
		{"space before the colon", "POST PATH HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", malformed},
	}
	for name, at := range map[string]struct {
		handler http.Handler
		path    string
	}{"credentials": {f.handler, "/creds"}, "control": {f.control, "/v1/tasks"}} {
		server := httptest.NewServer(at.handler)
		t.Cleanup(server.Close)
		for _, test := range tests {
			t.Run(name+" "+test.name, func(t *testing.T) {
				t.Parallel()
				answer := answerTo(t, server.Listener.Addr().String(), strings.ReplaceAll(test.request, "PATH", at.path))
				if status := strings.Fields(answer + " nothing nothing")[1]; status != test.status {
					t.Errorf("status %s, want %s: %s", status, test.status, answer)
				}
				if strings.Contains(answer, "Access-Control-") || test.status != ok && strings.Contains(answer, secretKey) {
					t.Errorf("a web page can read this: %s", answer)
				}
			})
		}
	}
}

// answerTo sends bytes and returns the first part of the answer.
func answerTo(t *testing.T, address, request string) string {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(longest))
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 64<<10)
	n, err := conn.Read(answer)
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	return string(answer[:n])
}
