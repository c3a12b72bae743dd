package imdsclient_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gofrs/flock"

	"github.com/ecs-local/ecs-local/local"
	"github.com/ecs-local/ecs-local/local/imdsclient"
)

func TestTokenIsKept(t *testing.T) {
	t.Parallel()
	s := serve(t, instance(), imdsclient.Options{Timeout: patience})
	for range 5 {
		s.wantValue(t)
	}
	s.wantCounts(t, 1, 5)
	if got, want := s.Stats(), (imdsclient.Stats{Requests: 6, Tokens: 1}); got != want {
		t.Errorf("counted %+v, want %+v", got, want)
	}
}

func TestTokenIsRenewedFiveSecondsBeforeItsEnd(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		asked time.Duration
		ttl   string        // of the service; "-" for none
		last  time.Duration // when the first token is still used
	}{
		"the lifetime that was asked for":   {asked: time.Minute, last: 55*time.Second - 1},
		"the longest by default":            {last: 6*time.Hour - 5*time.Second - 1},
		"the service says less":             {ttl: "60", last: 55*time.Second - 1},
		"the service does not say":          {asked: time.Minute, ttl: "-", last: 55*time.Second - 1},
		"what the service says is no time":  {asked: time.Minute, ttl: "soon", last: 55*time.Second - 1},
		"what the service says is negative": {asked: time.Minute, ttl: "-1", last: 55*time.Second - 1},
		"the service says too much":         {ttl: "99999999999", last: 6*time.Hour - 5*time.Second - 1},
	} {
		for _, shared := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, shared %t", name, shared), func(t *testing.T) {
				t.Parallel()
				opts := imdsclient.Options{TokenTTL: tc.asked}
				if shared {
					opts.CacheDir = filepath.Join(t.TempDir(), "cache")
				}
				synctest.Test(t, func(t *testing.T) {
					f := instance()
					f.ttl = tc.ttl
					s := serve(t, f, opts)
					s.wantValue(t)
					time.Sleep(tc.last)
					s.wantValue(t)
					s.wantCounts(t, 1, 2)
					time.Sleep(time.Nanosecond)
					s.wantValue(t)
					s.wantCounts(t, 2, 3)
				})
			})
		}
	}
}

func TestShortTokensWork(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		over := instance()
		over.ttl = "0"
		for _, s := range []*service{
			serve(t, instance(), imdsclient.Options{TokenTTL: 2 * time.Second}),
			serve(t, over, imdsclient.Options{}), // it ends at once, says the service
		} {
			s.wantValue(t)
			s.wantValue(t)
			s.wantCounts(t, 2, 2)
		}
	})
}

func TestRefusedTokenIsReplacedOnce(t *testing.T) {
	t.Parallel()
	t.Run("the new one is good", func(t *testing.T) {
		t.Parallel()
		s := serve(t, instance(), imdsclient.Options{Timeout: patience})
		s.wantValue(t)
		s.forget()
		s.wantValue(t)
		s.wantCounts(t, 2, 3)
	})
	t.Run("the new one is refused, too", func(t *testing.T) {
		t.Parallel()
		f := instance()
		f.before = answer(http.MethodGet, 401)
		s := serve(t, f, imdsclient.Options{Timeout: patience})
		s.wantError(t, local.Denied, "refuses the token that it just issued (401)")
		s.wantCounts(t, 2, 2)
	})
	t.Run("many callers at once", func(t *testing.T) {
		t.Parallel()
		s := serve(t, instance(), imdsclient.Options{Timeout: patience})
		s.wantValue(t)
		s.forget()
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() { s.wantValue(t) })
		}
		all.Wait()
		if puts := s.count(http.MethodPut); puts != 2 {
			t.Errorf("%d token requests, want 2", puts)
		}
	})
}

func TestOneTokenForManyCallers(t *testing.T) {
	t.Parallel()
	s := serve(t, instance(), imdsclient.Options{Timeout: patience})
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() { s.wantValue(t) })
	}
	all.Wait()
	s.wantCounts(t, 1, 50)
}

// v1 answers reads without a token.
func v1(next func(http.ResponseWriter, *http.Request) bool) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodGet && r.Header.Get("X-Aws-Ec2-Metadata-Token") == "" {
			_, _ = w.Write([]byte("i-04b098f5de41d11e6"))
			return true
		}
		return next(w, r)
	}
}

func TestIMDSv1(t *testing.T) {
	t.Parallel()
	put := http.MethodPut
	for name, tc := range map[string]struct {
		fault func(http.ResponseWriter, *http.Request) bool
		puts  int // for two reads
		fails local.Code
	}{
		"tokens answered 403":       {fault: answer(put, 403), puts: 1},
		"tokens answered 404":       {fault: answer(put, 404), puts: 1},
		"tokens answered 405":       {fault: answer(put, 405), puts: 1},
		"tokens not answered":       {fault: hang(put), puts: 2},
		"connection closed":         {fault: drop(put), puts: 3},
		"503: only this time":       {fault: answer(put, 503), puts: 6},
		"no token: only this time":  {fault: emptyToken, puts: 1},
		"400 is an error":           {fault: answer(put, 400), puts: 2, fails: local.Invalid},
		"tokens are used if we can": {fault: func(http.ResponseWriter, *http.Request) bool { return false }, puts: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := instance()
				f.before = v1(tc.fault)
				s := serve(t, f, imdsclient.Options{AllowV1: true, AttemptTimeout: 2 * time.Second})
				for range 2 {
					if tc.fails != "" {
						s.wantError(t, tc.fails, "")
						continue
					}
					s.wantValue(t)
				}
				if got := f.count(put); got != tc.puts {
					t.Errorf("%d token requests, want %d", got, tc.puts)
				}
			})
		})
		t.Run(name+"; never unless allowed", func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := instance()
				f.before = v1(tc.fault)
				s := serve(t, f, imdsclient.Options{})
				_, _ = s.Get(t.Context(), "instance-id")
				for _, r := range f.seen() {
					if r.method == http.MethodGet && r.token == "" {
						t.Error("a read without a token")
					}
				}
			})
		})
	}
	t.Run("tokens are asked for again when they are required", func(t *testing.T) {
		t.Parallel()
		f := instance()
		f.before = v1(answer(put, 404))
		s := serve(t, f, imdsclient.Options{Timeout: patience, AllowV1: true})
		s.wantValue(t)
		s.wantCounts(t, 1, 1)
		f.set(nil) // no v1 any more, but tokens
		s.wantValue(t)
		s.wantValue(t)
		s.wantCounts(t, 2, 4)
	})
	t.Run("required but not to be had", func(t *testing.T) {
		t.Parallel()
		f := instance()
		f.before = answer(put, 404)
		s := serve(t, f, imdsclient.Options{Timeout: patience, AllowV1: true})
		s.wantError(t, local.Denied, "wants a token")
		s.wantCounts(t, 2, 2)
	})
}

// tokenFile returns the one token file in dir.
func tokenFile(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(files) != 1 {
		t.Fatalf("token files %v, %v", files, err)
	}
	return files[0]
}

func TestTokenIsSharedInAFile(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a", "cache")
	f := instance()
	for range 3 {
		serve(t, f, imdsclient.Options{Timeout: patience, CacheDir: dir}).wantValue(t)
	}
	f.wantCounts(t, 1, 3)

	file := tokenFile(t, dir)
	for path, want := range map[string]os.FileMode{dir: 0o700, file: 0o600, file + ".lock": 0o600} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("mode of %s is %o, want %o", filepath.Base(path), got, want)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("%d files, want the token and the lock; %v", len(entries), err)
	}

	other := instance()
	serve(t, other, imdsclient.Options{Timeout: patience, CacheDir: dir, Endpoint: "http://other"}).wantValue(t)
	other.wantCounts(t, 1, 1)
	serve(t, f, imdsclient.Options{Timeout: patience, CacheDir: dir, Endpoint: "http://169.254.169.254:80/"}).wantValue(t)
	f.wantCounts(t, 1, 4)
}

func TestTokenIsSharedByProcesses(t *testing.T) {
	t.Parallel()
	f := instance()
	f.before = func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut {
			time.Sleep(100 * time.Millisecond) // until all of them wait for it
		}
		return false
	}
	server := httptest.NewServer(f)
	defer server.Close()
	dir := filepath.Join(t.TempDir(), "cache")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	const processes = 6
	for range processes {
		all.Go(func() {
			out, err := exec.CommandContext(t.Context(), self, "-token-process", server.URL+"|"+dir).CombinedOutput()
			if err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	all.Wait()
	f.wantCounts(t, 1, processes)
}

func TestTokenIsSharedByClientsThatStartTogether(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(instance())
	defer server.Close()
	dir := t.TempDir()
	var all sync.WaitGroup
	for range 30 {
		all.Go(func() {
			c := newClient(t, imdsclient.Options{Endpoint: server.URL, CacheDir: dir, Timeout: time.Minute, AttemptTimeout: 30 * time.Second})
			if _, err := c.Get(t.Context(), "instance-id"); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	server.Config.Handler.(*fake).wantCounts(t, 1, 30)
}

func TestSharedTokenIsRenewedByWhoeverNeedsItFirst(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "cache")
	synctest.Test(t, func(t *testing.T) {
		f := instance()
		opts := imdsclient.Options{CacheDir: dir, TokenTTL: time.Minute}
		a, b := serve(t, f, opts), serve(t, f, opts)
		a.wantValue(t)
		b.wantValue(t)
		f.wantCounts(t, 1, 2)
		time.Sleep(56 * time.Second)
		b.wantValue(t)
		a.wantValue(t)
		f.wantCounts(t, 2, 4)
	})
}

func TestRefusedTokenInTheFileIsReplaced(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "cache")
	f := instance()
	serve(t, f, imdsclient.Options{Timeout: patience, CacheDir: dir}).wantValue(t)
	f.forget()
	serve(t, f, imdsclient.Options{Timeout: patience, CacheDir: dir}).wantValue(t)
	f.wantCounts(t, 2, 3)
	serve(t, f, imdsclient.Options{Timeout: patience, CacheDir: dir}).wantValue(t)
	f.wantCounts(t, 2, 4)
}

// edit changes one field of a token file.
func edit(t *testing.T, file, field string, value any) {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(content, &m); err != nil {
		t.Fatal(err)
	}
	if _, ok := m[field]; !ok {
		t.Fatalf("no field %s", field)
	}
	m[field] = value
	content, err = json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	write(t, file, string(content))
}

func write(t *testing.T, file, content string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestBrokenAndForeignFilesAreReplaced(t *testing.T) {
	t.Parallel()
	cases := map[string]func(t *testing.T, file string){
		"empty":            func(t *testing.T, file string) { write(t, file, "") },
		"no JSON":          func(t *testing.T, file string) { write(t, file, "{") },
		"another JSON":     func(t *testing.T, file string) { write(t, file, "[]") },
		"no token":         func(t *testing.T, file string) { edit(t, file, "token", "") },
		"unfit token":      func(t *testing.T, file string) { edit(t, file, "token", "a\nb") },
		"another endpoint": func(t *testing.T, file string) { edit(t, file, "endpoint", "http://other") },
		"expired":          func(t *testing.T, file string) { edit(t, file, "expires", time.Now().Add(-time.Second)) },
		"about to expire":  func(t *testing.T, file string) { edit(t, file, "expires", time.Now().Add(4*time.Second)) },
		"without an end":   func(t *testing.T, file string) { edit(t, file, "expires", time.Now().Add(7*time.Hour)) },
		"no time":          func(t *testing.T, file string) { edit(t, file, "expires", "later") },
		"huge": func(t *testing.T, file string) {
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			write(t, file, string(content)+strings.Repeat(" ", 1<<20))
		},
		"readable by others": func(t *testing.T, file string) {
			if err := os.Chmod(file, 0o644); err != nil {
				t.Fatal(err)
			}
		},
		"a symbolic link": func(t *testing.T, file string) {
			if err := os.Rename(file, file+".target"); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(file+".target", file); err != nil {
				t.Fatal(err)
			}
		},
	}
	if os.Geteuid() == 0 { // only root can give a file away
		cases["another user's"] = func(t *testing.T, file string) {
			if err := os.Chown(file, 12345, -1); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, breaks := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "cache")
			f := instance()
			serve(t, f, imdsclient.Options{Timeout: patience, CacheDir: dir}).wantValue(t)
			breaks(t, tokenFile(t, dir))
			s := serve(t, f, imdsclient.Options{Timeout: patience, CacheDir: dir})
			s.wantValue(t)
			f.wantCounts(t, 2, 2)
			serve(t, f, imdsclient.Options{Timeout: patience, CacheDir: dir}).wantValue(t)
			f.wantCounts(t, 2, 3)
			info, err := os.Lstat(tokenFile(t, dir))
			if err != nil || info.Mode() != 0o600 {
				t.Errorf("mode %v, %v; want 0600 and no link", info.Mode(), err)
			}
			if s.log.Len() != 0 {
				t.Error("logged:", s.log)
			}
		})
	}
}

// Without a place for the file the client works, and says so.
func TestTokenThatCannotBeShared(t *testing.T) {
	t.Parallel()
	cases := map[string]func(t *testing.T, dir string){
		"a file instead of the directory": func(t *testing.T, dir string) { write(t, dir, "") },
		"a directory that others write to": func(t *testing.T, dir string) {
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(dir, 0o777); err != nil {
				t.Fatal(err)
			}
		},
	}
	if os.Geteuid() == 0 {
		cases["another user's directory"] = func(t *testing.T, dir string) {
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.Chown(dir, 12345, -1); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, breaks := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "cache")
			breaks(t, dir)
			s := serve(t, instance(), imdsclient.Options{Timeout: patience, CacheDir: dir})
			s.wantValue(t)
			s.wantValue(t)
			s.wantCounts(t, 1, 2)
			if strings.Count(s.log.String(), "not shared with other processes") != 1 {
				t.Errorf("want it said once, got the log: %s", s.log)
			}
			if entries, err := os.ReadDir(dir); err == nil && len(entries) != 0 {
				t.Errorf("%d files in the directory", len(entries))
			}
		})
	}
	t.Run("a directory instead of the file", func(t *testing.T) {
		t.Parallel()
		dir := filepath.Join(t.TempDir(), "cache")
		f := instance()
		serve(t, f, imdsclient.Options{Timeout: patience, CacheDir: dir}).wantValue(t)
		file := tokenFile(t, dir)
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Join(file, "x"), 0o700); err != nil {
			t.Fatal(err)
		}
		s := serve(t, f, imdsclient.Options{Timeout: patience, CacheDir: dir})
		s.wantValue(t)
		if !strings.Contains(s.log.String(), "not shared") {
			t.Errorf("log: %s", s.log)
		}
		if left, err := filepath.Glob(filepath.Join(dir, "*.tmp")); err != nil || len(left) != 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	})
	t.Run("a process that hangs with the lock", func(t *testing.T) {
		t.Parallel()
		dir := filepath.Join(t.TempDir(), "cache")
		synctest.Test(t, func(t *testing.T) {
			f := instance()
			first := serve(t, f, imdsclient.Options{CacheDir: dir, TokenTTL: time.Minute})
			first.wantValue(t)
			held := flock.New(tokenFile(t, dir) + ".lock")
			if err := held.Lock(); err != nil {
				t.Fatal(err)
			}
			defer func() { _ = held.Unlock() }()
			time.Sleep(time.Minute)
			began := time.Now()
			first.wantValue(t)
			if took := time.Since(began); took != imdsclient.DefaultTimeout/2 {
				t.Errorf("waited %v, want half of the timeout", took)
			}
			f.wantCounts(t, 2, 2)
			if !strings.Contains(first.log.String(), "not shared") {
				t.Errorf("log: %s", first.log)
			}
		})
	})
}

// Callers that wait for another one's token give up in time.
func TestWaitingForATokenEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := instance()
		f.before = hang(http.MethodPut)
		s := serve(t, f, imdsclient.Options{Attempts: 100, Timeout: 2 * time.Second})
		began := time.Now()
		var all sync.WaitGroup
		for range 5 {
			all.Go(func() { s.wantError(t, local.Timeout, "") })
		}
		all.Wait()
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("took %v", took)
		}
	})
}
