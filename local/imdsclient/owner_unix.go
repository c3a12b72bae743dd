//go:build unix

package imdsclient

import (
	"io/fs"
	"os"
	"syscall"
)

// private reports whether a file is this user's and nobody else can read it.
func private(info fs.FileInfo) bool { return owned(info) && info.Mode().Perm()&0o077 == 0 }

func owned(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Geteuid()
}

func writableByOthers(info fs.FileInfo) bool { return info.Mode().Perm()&0o022 != 0 }
