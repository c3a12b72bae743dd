//go:build unix

package cli

import (
	"io/fs"
	"os"
	"syscall"
)

// ownerOf returns the id of the user whose file this is.
func ownerOf(info fs.FileInfo) (uid int, ok bool) {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return int(stat.Uid), true
}

// ownUser is the id of the user that files are made for.
func ownUser() int { return os.Geteuid() }
