package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// echo is serve, and answers each byte and packet with itself at the ports
// given, in TCP and UDP.
func echo(ctx context.Context, ports []string) int {
	for _, port := range ports {
		if err := echoAt(ctx, ":"+port); err != nil {
			return complain("echo: %v", err)
		}
	}
	return serve(ctx, nil)
}

func echoAt(ctx context.Context, address string) error {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	packets, err := config.ListenPacket(ctx, "udp", address)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(conn, conn)
				_ = conn.Close()
			}()
		}
	}()
	go func() {
		buffer := make([]byte, 64)
		for {
			n, from, err := packets.ReadFrom(buffer)
			if err != nil {
				return
			}
			_, _ = packets.WriteTo(buffer[:n], from)
		}
	}()
	return nil
}

// exchange is how the packets to an echo, or the bytes, fared.
type exchange struct {
	Echoed  int    `json:"echoed"`
	Refused int    `json:"refused"` // that the kernel did not take
	Median  int64  `json:"median"`  // round trip in microseconds; of ping
	Error   string `json:"error,omitempty"`
}

// orders are the paths of serve that are about the network beneath HTTP:
//
//	POST /post?url=…                                  makes this container post the body there
//	GET /ping?protocol=…&address=…&times=…&limit=…    sends bytes one by one, over a new connection, each after the echo of the one before
//	GET /flood?address=…&packets=…                    sends many UDP packets and counts what comes back
func orders(mux *http.ServeMux) {
	mux.HandleFunc("POST /post", func(w http.ResponseWriter, r *http.Request) {
		reply(w, send(r.Context(), http.MethodPost, r.URL.Query().Get("url"), nil, r.Body))
	})
	mux.HandleFunc("GET /ping", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		times, timesErr := strconv.Atoi(q.Get("times"))
		limit, limitErr := time.ParseDuration(q.Get("limit"))
		if err := errors.Join(timesErr, limitErr); err != nil || times < 1 {
			http.Error(w, "times and limit are needed", http.StatusBadRequest)
			return
		}
		reply(w, ping(r.Context(), q.Get("protocol"), q.Get("address"), times, limit))
	})
	mux.HandleFunc("GET /flood", func(w http.ResponseWriter, r *http.Request) {
		packets, err := strconv.Atoi(r.URL.Query().Get("packets"))
		if err != nil {
			http.Error(w, "packets are needed", http.StatusBadRequest)
			return
		}
		reply(w, flood(r.Context(), r.URL.Query().Get("address"), packets))
	})
}

func reply(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

func ping(ctx context.Context, protocol, address string, times int, limit time.Duration) (e exchange) {
	conn, err := (&net.Dialer{Timeout: limit}).DialContext(ctx, protocol, address)
	if err != nil {
		e.Error = err.Error()
		return e
	}
	defer func() { _ = conn.Close() }()
	var took []int64
	for range times {
		begin := time.Now()
		if err := conn.SetDeadline(begin.Add(limit)); err != nil {
			e.Error = err.Error()
			return e
		}
		if _, err := conn.Write([]byte{1}); err != nil {
			e.Refused, e.Error = e.Refused+1, err.Error()
			return e
		}
		if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
			e.Error = err.Error()
			return e
		}
		e.Echoed++
		took = append(took, time.Since(begin).Microseconds())
	}
	slices.Sort(took)
	e.Median = took[len(took)/2]
	return e
}

func flood(ctx context.Context, address string, packets int) (e exchange) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "udp", address)
	if err != nil {
		e.Error = err.Error()
		return e
	}
	defer func() { _ = conn.Close() }()
	// In small groups, so that no buffer overflows. Each ends with a mark, sent
	// again until it comes back: what has not come back before it is lost, and
	// not only late because the machine is busy.
	const group = 100
	const again, patience = 50 * time.Millisecond, time.Minute
	write := func(packet []byte) {
		if _, err := conn.Write(packet); err != nil {
			e.Refused, e.Error = e.Refused+1, err.Error()
		}
	}
	buffer := make([]byte, 64)
	for sent := 0; sent < packets; sent += group {
		for range min(group, packets-sent) {
			write([]byte{0})
		}
		mark := strconv.Itoa(group + sent) // longer than the packets that count
		for end := time.Now().Add(patience); ; {
			if time.Now().After(end) {
				e.Error = "nothing comes back"
				return e
			}
			write([]byte(mark))
			echoed, marked := drain(conn, buffer, mark, again)
			e.Echoed += echoed
			if marked {
				break
			}
		}
	}
	// Packets may have overtaken the last mark.
	echoed, _ := drain(conn, buffer, "", again)
	e.Echoed += echoed
	return e
}

// drain counts what comes back until it is the mark, or for a while nothing.
func drain(conn net.Conn, buffer []byte, mark string, quiet time.Duration) (echoed int, marked bool) {
	for {
		if err := conn.SetReadDeadline(time.Now().Add(quiet)); err != nil {
			return echoed, false
		}
		n, err := conn.Read(buffer)
		switch {
		case err != nil:
			return echoed, false
		case n == 1:
			echoed++
		case string(buffer[:n]) == mark:
			return echoed, true
		}
	}
}
