//go:build unix

package docker

import (
	"os"
	"strconv"
	"syscall"
)

// groupOf returns the id of the group that the file belongs to.
func groupOf(file string) (string, bool) {
	info, err := os.Stat(file)
	if err != nil {
		return "", false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return "", false
	}
	return strconv.FormatUint(uint64(stat.Gid), 10), true
}
