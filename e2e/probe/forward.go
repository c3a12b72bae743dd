package main

import (
	"context"
	"io"
	"net"
	"sync"
)

// forward connects whoever comes to one address with another, so that what
// runs outside can be reached as a container: forward :5000 10.0.0.1:5000.
func forward(ctx context.Context, args []string) int {
	if len(args) != 2 {
		return complain("usage: forward LISTEN TARGET")
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", args[0])
	if err != nil {
		return complain("forward: %v", err)
	}
	go func() {
		<-ctx.Done()
		_ = listener.Close()
	}()
	for {
		conn, err := listener.Accept()
		if ctx.Err() != nil {
			return 0
		}
		if err != nil {
			return complain("forward: %v", err)
		}
		go join(ctx, conn, args[1])
	}
}

// join copies both ways until one side has ended.
func join(ctx context.Context, conn net.Conn, target string) {
	defer func() { _ = conn.Close() }()
	other, err := (&net.Dialer{}).DialContext(ctx, "tcp", target)
	if err != nil {
		complain("forward: %v", err)
		return
	}
	defer func() { _ = other.Close() }()
	var copying sync.WaitGroup
	for _, way := range [][2]net.Conn{{conn, other}, {other, conn}} {
		copying.Go(func() {
			_, _ = io.Copy(way[0], way[1])
			_ = way[0].Close() // the other direction ends too
		})
	}
	copying.Wait()
}
