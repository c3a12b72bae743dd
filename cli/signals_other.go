//go:build !unix

package cli

import "os"

// forwarded are the signals that exec hands on to its command.
var forwarded = []os.Signal{os.Interrupt}

// fromTerminal reports whether the command has a signal already: a console
// sends it to all of its processes.
func fromTerminal(os.Signal) bool { return true }
