package creds

import (
	"maps"
	"os"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/logincreds"
	"github.com/aws/aws-sdk-go-v2/credentials/ssocreds"
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

// watch says which files matter. Those that are new count from now on.
func (w *watchedFiles) watch(env config.EnvConfig, shared config.SharedConfig) {
	paths := []string{config.DefaultSharedConfigFilename(), config.DefaultSharedCredentialsFilename()}
	if env.SharedConfigFile != "" {
		paths[0] = env.SharedConfigFile
	}
	if env.SharedCredentialsFile != "" {
		paths[1] = env.SharedCredentialsFile
	}
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
