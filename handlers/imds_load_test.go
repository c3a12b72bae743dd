package handlers_test

import (
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ecs-local/ecs-local/handlers"
	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/imds"
)

var (
	soak   = flag.Duration("imds.soak", 5*time.Second, "how long 64 connections ask the instance metadata service")
	tokens = flag.Int("imds.tokens", 100_000, "how many tokens must leave memory where it was")
)

// 64 connections mix requests for tokens and for values, and everybody gets
// what he asked for, while values, options and credentials change.
func TestIMDSUnderLoad(t *testing.T) {
	t.Parallel()
	s := serveInstance(t, recordedConfig())
	const tokenPath = "/latest/api/token"
	// What a real instance answered, by path.
	want := map[string]string{
		"ami-id": "ami-0fef201115eefe936", "hostname": "ip-10-237-0-16.ec2.internal", "instance-id": "i-04b098f5de41d11e6",
		"instance-type": "t3.nano", "local-ipv4": "10.237.0.16", "mac": "0e:ff:d5:40:fe:7d", "reservation-id": "r-0f1866af1f1a14d3c",
		"system": "nitro", "placement/availability-zone": "us-east-1a", "placement/region": "us-east-1", "services/domain": "amazonaws.com",
		"tags/instance/suite": "ec2", "public-keys": "0=stackd-ec2-instances-d63233436ede-metadata",
		"no/such/value": "", // and a page that says so
	}
	leaves := slices.Sorted(maps.Keys(want))
	begun := time.Now()
	session := s.token(t)

	var asked atomic.Int64
	end := time.Now().Add(*soak)
	var group errgroup.Group
	for range 64 {
		group.Go(func() error {
			client := &http.Client{Transport: &http.Transport{MaxConnsPerHost: 1}, Timeout: longest}
			defer client.CloseIdleConnections()
			mine, mineLife, since := session, imds.MaxTokenTTL, begun
			for time.Now().Before(end) {
				leaf := leaves[rand.N(len(leaves))]
				method, path := http.MethodGet, "/latest/meta-data/"+leaf
				if rand.N(4) == 0 {
					method, path = http.MethodPut, tokenPath
				}
				r, err := http.NewRequest(method, s.server.URL+path, nil)
				if err != nil {
					return err
				}
				life := 60 + rand.N(21000)
				if method == http.MethodPut {
					r.Header.Set(imds.HeaderTokenTTL, strconv.Itoa(life))
				} else {
					r.Header.Set(imds.HeaderToken, mine)
				}
				if rand.N(8) > 0 {
					r.Header.Set("Connection", "keep-alive")
				}
				asking := time.Now()
				answer, err := client.Do(r)
				if err != nil {
					return fmt.Errorf("%s %s: %w", method, path, err)
				}
				body, err := io.ReadAll(answer.Body)
				answer.Body.Close()
				asked.Add(1)
				switch {
				case err != nil:
					return fmt.Errorf("%s %s: %w", method, path, err)
				case method == http.MethodPut:
					if answer.StatusCode != http.StatusOK || len(body) != 56 || answer.Header.Get(imds.HeaderTokenTTL) != strconv.Itoa(life) {
						return fmt.Errorf("token: %s, %d bytes, life %s", answer.Status, len(body), answer.Header.Get(imds.HeaderTokenTTL))
					}
					mine, mineLife, since = string(body), life, asking
				default:
					left, err := strconv.Atoi(answer.Header.Get(imds.HeaderTokenTTL))
					if err != nil || left > mineLife || left < mineLife-int(time.Since(since)/time.Second)-1 {
						return fmt.Errorf("GET %s: a token of %d seconds has %q left", path, mineLife, answer.Header.Get(imds.HeaderTokenTTL))
					}
					if want[leaf] == "" {
						if answer.StatusCode != http.StatusNotFound || len(body) != 339 {
							return fmt.Errorf("GET %s: %s, %d bytes", path, answer.Status, len(body))
						}
					} else if answer.StatusCode != http.StatusOK || string(body) != want[leaf] {
						return fmt.Errorf("GET %s: %s with the body of something else", path, answer.Status)
					}
				}
			}
			return nil
		})
	}
	group.Go(func() error {
		for n := 0; time.Now().Before(end); n++ {
			if err := s.service.SetValue("custom/counter", []byte(strconv.Itoa(n))); err != nil {
				return err
			}
			if err := s.service.SetOptions(imds.Options{HTTPPutResponseHopLimit: 1 + n%64}); err != nil {
				return err
			}
			if n%10 == 0 {
				if err := s.service.Rotate(t.Context()); err != nil {
					return err
				}
			}
			time.Sleep(10 * time.Millisecond)
		}
		return nil
	})
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
	t.Logf("%d requests", asked.Load())
}

// Tokens are not kept: any number of them leaves memory where it was. It is
// not parallel, so that nobody else's memory counts.
func TestTokensTakeNoMemory(t *testing.T) {
	h := handlers.NewIMDS(newService(t, imds.Config{}), nopLog)
	put := func(n int) {
		r := httptest.NewRequest(http.MethodPut, "/latest/api/token", nil)
		r.Header[imds.HeaderTokenTTL] = []string{"21600"}
		for range n {
			h.ServeHTTP(discard{http.Header{}}, r)
		}
	}
	inUse := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	put(1000)
	before := inUse()
	put(*tokens)
	// A token that is kept, as text, is 56 bytes and more.
	if after := inUse(); after > before+uint64(*tokens)*8+64<<10 {
		t.Errorf("%d tokens: from %d to %d bytes in use", *tokens, before, after)
	}
}

// Nothing that arrives makes the service fail: the answer is one that a real
// one gives, and as long as it says.
func FuzzIMDS(f *testing.F) {
	service := newService(f, imds.Config{Role: "web", UserData: []byte("x\x00y"), Tags: map[string]string{"Name": "web"}})
	session := string(service.Answer(imds.Request{Method: http.MethodPut, Path: "/latest/api/token", TokenTTL: "21600"}).Body)
	whole := newHandler(service, nopLog)
	for _, seed := range [][4]string{
		{"GET", "/latest/meta-data/instance-id", "", session},
		{"PUT", "/latest/api/token", "21600", ""},
		{"PUT", "//latest/./api/token/", "0", session},
		{"HEAD", "/latest/user-data?x=%zz", "-1", "bogus"},
		{"GET", "/%6Catest/%2e%2e/..//meta-data/%00", "99999999999999999999", session},
		{"OPTIONS", "*", "", session},
		{"GET", "http://169.254.169.254/latest//", "\x00", "\xff"},
		{"TRACE", "/2009-04-04/dynamic/instance-identity/pkcs7", "1", session},
		{"GET", "/latest/meta-data/network/interfaces/macs/%", "+1", session[:55] + "A"},
	} {
		f.Add(seed[0], seed[1], seed[2], seed[3], false)
	}
	allowed := []int{200, 400, 401, 403, 404, 405}
	f.Fuzz(func(t *testing.T, method, target, life, sent string, forwarded bool) {
		at := httptest.NewRequest(http.MethodGet, "/", nil)
		at.Method, at.RequestURI = method, target
		if parsed, err := at.URL.Parse(target); err == nil {
			at.URL = parsed
		}
		at.Header[imds.HeaderTokenTTL], at.Header[imds.HeaderToken] = []string{life}, []string{sent}
		if forwarded {
			at.Header[imds.HeaderForwarded] = []string{life}
		}
		w := httptest.NewRecorder()
		whole.ServeHTTP(w, atAddress(at, local.IMDSAddress))
		if !slices.Contains(allowed, w.Code) {
			t.Errorf("status %d", w.Code)
		}
		if length := w.Header().Get("Content-Length"); method != http.MethodHead && length != strconv.Itoa(w.Body.Len()) {
			t.Errorf("length %s of %d bytes", length, w.Body.Len())
		}
		if w.Code == 200 && method == http.MethodGet && sent != session && strings.Contains(w.Body.String(), secretKey) && sent != "" && !forwarded {
			t.Error("credentials for a token that is not ours")
		}
	})
}
