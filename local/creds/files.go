package creds

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/logincreds"
	"github.com/aws/aws-sdk-go-v2/credentials/ssocreds"

	"github.com/ecs-local/ecs-local/local"
)

// lookPause is the least time between two looks at the AWS files.
const lookPause = time.Second

// watchedFiles are the files that base credentials come from. The zero value
// knows none.
type watchedFiles struct {
	mu    sync.Mutex
	paths []string
	seen  map[string]os.FileInfo // nil: the file was not there
}

// awsFiles returns the paths of the configuration and the credentials file.
func awsFiles(env config.EnvConfig) []string {
	return []string{
		cmp.Or(env.SharedConfigFile, config.DefaultSharedConfigFilename()),
		cmp.Or(env.SharedCredentialsFile, config.DefaultSharedCredentialsFilename()),
	}
}

// unreadable returns an error about an AWS file that is there and cannot be
// opened, or nil. The SDK takes such a file for an empty one, and credentials
// that are there must not be taken for none.
func unreadable() error {
	env, err := config.NewEnvConfig()
	if err != nil {
		return nil // loading says it better
	}
	for _, path := range awsFiles(env) {
		// In the home of another user there is nothing of ours.
		if _, err := os.Stat(filepath.Dir(path)); err != nil {
			continue
		}
		f, err := os.Open(path)
		switch {
		case err == nil:
			f.Close()
		case errors.Is(err, fs.ErrPermission):
			return &local.Error{Code: local.Denied, Name: "InvalidConfiguration", Err: err, Msg: fmt.Sprintf(
				"the AWS file %s cannot be read by the user that ecs-local runs as (%d): run it as the user that the file belongs to (user: with Compose, --user with docker run), "+
					"as root, or make the file readable for it", path, os.Getuid())}
		case !errors.Is(err, fs.ErrNotExist):
			return &local.Error{Code: local.Denied, Name: "InvalidConfiguration", Err: err, Msg: fmt.Sprintf(
				"the AWS file %s cannot be opened: look what is there, and correct AWS_CONFIG_FILE or AWS_SHARED_CREDENTIALS_FILE if it is elsewhere", path)}
		}
	}
	return nil
}

// watch says which files matter. Those that are new count from now on.
func (w *watchedFiles) watch(env config.EnvConfig, shared config.SharedConfig) {
	paths := awsFiles(env)
	leaf := leafOf(&shared)
	if usesSSO(leaf) {
		key := leaf.SSOSessionName
		if key == "" {
			key = leaf.SSOStartURL
		}
		if path, err := ssocreds.StandardCachedTokenFilepath(key); err == nil {
			paths = append(paths, path)
		}
	}
	if leaf.LoginSession != "" {
		if path, err := logincreds.StandardCachedTokenFilepath(leaf.LoginSession, ""); err == nil {
			paths = append(paths, path)
		}
	}
	for _, path := range []string{env.WebIdentityTokenFilePath, leaf.WebIdentityTokenFile} {
		if path != "" {
			paths = append(paths, path)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.paths = paths
	if w.seen == nil {
		w.seen = map[string]os.FileInfo{}
	}
	for _, path := range paths {
		if _, ok := w.seen[path]; !ok {
			w.seen[path] = fileInfo(path)
		}
	}
}

// changed reports whether a file is another than at the last look.
func (w *watchedFiles) changed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := make(map[string]os.FileInfo, len(w.paths))
	for _, path := range w.paths {
		now[path] = fileInfo(path)
	}
	same := maps.EqualFunc(now, w.seen, func(a, b os.FileInfo) bool {
		if a == nil || b == nil {
			return a == nil && b == nil
		}
		return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
	})
	w.seen = now
	return !same
}

func fileInfo(path string) os.FileInfo {
	info, err := os.Stat(path)
	if err != nil {
		return nil
	}
	return info
}
