//go:build !unix

package imdsclient

import "io/fs"

// On Windows the directory's access list decides; a user's cache directory is
// the user's alone.

func private(fs.FileInfo) bool { return true }

func owned(fs.FileInfo) bool { return true }

func writableByOthers(fs.FileInfo) bool { return false }
