package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/rpc"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// The load generator runs in a container and is told what to do over net/rpc.
// It spends as little as it can on a request, because it shares the machine's
// processors with what is measured.

const loadPort = "7000"

// Target is where requests go and what comes back when all is well.
type Target struct {
	Address string // host:port
	Method  string // "" for GET
	Path    string
	Header  string // lines of the request's header beside Host, each with its end
	// Length is the body's; it may differ by Slack.
	Length, Slack int
	Body          string // "" for any
}

// request is what is sent.
func (t Target) request() []byte {
	return []byte(cmp.Or(t.Method, "GET") + " " + t.Path + " HTTP/1.1\r\nHost: " + t.Address + "\r\n" + t.Header + "\r\n")
}

// holds reports whether a piece of an answer's body is the right one where it
// stands.
func (t *Target) holds(piece []byte, at int) bool {
	end := at + len(piece)
	return t.Body == "" || end <= len(t.Body) && t.Body[at:end] == string(piece)
}

// Slice is an order: send requests over some connections for a while.
type Slice struct {
	Targets     []Target // connection i asks for target i, modulo their number
	Connections int
	Time        time.Duration
}

// Rate is how many requests were answered in what time.
type Rate struct {
	Requests int64
	Time     time.Duration
}

// PerSecond returns requests per second.
func (r Rate) PerSecond() float64 { return float64(r.Requests) / r.Time.Seconds() }

// Answer is one whole answer.
type Answer struct {
	Status      int
	ContentType string
	Body        []byte
}

// Burst is an order: open connections, then send one request on each of them at once.
type Burst struct {
	Target      Target
	Connections int
}

// BurstResult says how the answers of a burst were.
type BurstResult struct {
	Time      time.Duration // until the last answer
	Different int           // number of different bodies
}

// Load is the load generator.
type Load struct {
	mu   sync.Mutex
	kept map[Target][]*exchange
}

func serveLoad(ctx context.Context) error {
	listener, err := net.Listen("tcp", ":"+loadPort)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	go func() {
		<-ctx.Done()
		_ = listener.Close()
	}()
	server := rpc.NewServer()
	if err := server.Register(&Load{kept: map[Target][]*exchange{}}); err != nil {
		return fmt.Errorf("register: %w", err)
	}
	server.Accept(listener)
	return nil
}

// Run carries out a slice. The connections stay open for the next slice with
// the same targets. Any answer that is not as expected is an error.
func (l *Load) Run(s Slice, result *Rate) error {
	list, err := l.take(s)
	if err != nil {
		return err
	}
	var stop atomic.Bool
	var requests atomic.Int64
	var group sync.WaitGroup
	failed := make(chan error, len(list))
	begun := time.Now()
	for _, e := range list {
		if err := e.conn.SetDeadline(begun.Add(s.Time + 10*time.Second)); err != nil {
			return fmt.Errorf("set deadline: %w", err)
		}
		group.Go(func() {
			n := int64(0)
			defer func() { requests.Add(n) }()
			for n == 0 || !stop.Load() { // one at least, however busy the machine is
				if err := e.once(); err != nil {
					failed <- err
					return
				}
				n++
			}
		})
	}
	time.Sleep(s.Time)
	stop.Store(true)
	group.Wait()
	result.Time, result.Requests = time.Since(begun), requests.Load()
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

// take returns a connection for each target, new or kept.
func (l *Load) take(s Slice) ([]*exchange, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	used := map[Target]int{}
	list := make([]*exchange, s.Connections)
	for i := range list {
		t := s.Targets[i%len(s.Targets)]
		if used[t] == len(l.kept[t]) {
			e, err := dial(t)
			if err != nil {
				return nil, err
			}
			l.kept[t] = append(l.kept[t], e)
		}
		list[i] = l.kept[t][used[t]]
		used[t]++
	}
	return list, nil
}

// Forget closes the connections that are kept. net/rpc wants the parameters.
func (l *Load) Forget(bool, *bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, list := range l.kept {
		for _, e := range list {
			_ = e.conn.Close()
		}
	}
	clear(l.kept)
	return nil
}

// Ask sends one request and returns the answer, whatever it is.
func (*Load) Ask(t Target, answer *Answer) error {
	e, err := dial(t)
	if err != nil {
		return err
	}
	defer func() { _ = e.conn.Close() }()
	a, err := e.whole()
	if err != nil {
		return err
	}
	*answer = a
	return nil
}

// Burst carries out a burst. An answer other than 200 is an error.
func (*Load) Burst(b Burst, result *BurstResult) error {
	list := make([]*exchange, b.Connections)
	for i := range list {
		e, err := dial(b.Target)
		if err != nil {
			return err
		}
		defer func() { _ = e.conn.Close() }()
		list[i] = e
	}
	var group sync.WaitGroup
	start := make(chan struct{})
	bodies := make([][sha256.Size]byte, len(list))
	failures := make([]error, len(list))
	for i, e := range list {
		group.Go(func() {
			<-start
			a, err := e.whole()
			if err == nil && a.Status != 200 {
				err = fmt.Errorf("%s: status %d", b.Target.Path, a.Status)
			}
			bodies[i], failures[i] = sha256.Sum256(a.Body), err
		})
	}
	begun := time.Now()
	close(start)
	group.Wait()
	result.Time = time.Since(begun)
	different := map[[sha256.Size]byte]bool{}
	for _, sum := range bodies {
		different[sum] = true
	}
	result.Different = len(different)
	return errors.Join(failures...)
}

// exchange is one connection, with a request that is ready to be sent.
type exchange struct {
	conn    net.Conn
	target  Target
	request []byte
	buffer  []byte
}

func dial(t Target) (*exchange, error) {
	conn, err := net.DialTimeout("tcp", t.Address, 5*time.Second)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	return &exchange{
		conn: conn, target: t, request: t.request(),
		buffer: make([]byte, 64<<10),
	}, nil
}

var (
	statusOK      = []byte("HTTP/1.1 200 OK\r\n")
	contentLength = []byte("\r\nContent-Length: ")
	contentType   = []byte("\r\nContent-Type: ")
	endOfLine     = []byte("\r\n")
	endOfHeader   = []byte("\r\n\r\n")
)

// once sends the request, reads the whole answer and checks its status, its
// length, and its body if the target has one.
func (e *exchange) once() error {
	header, rest, err := e.head()
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(header, statusOK) {
		return fmt.Errorf("%s: want status 200, got: %s", e.target.Path, bytes.SplitN(header, endOfLine, 2)[0])
	}
	length, err := bodyLength(header)
	if err != nil {
		return err
	}
	if off := length - e.target.Length; off > e.target.Slack || -off > e.target.Slack {
		return fmt.Errorf("%s: want a body of %d bytes, got %d", e.target.Path, e.target.Length, length)
	}
	missing, right := length-len(rest), e.target.holds(rest, 0)
	for missing > 0 {
		n, err := e.conn.Read(e.buffer)
		if err != nil {
			return fmt.Errorf("read body: %w", err)
		}
		right = right && e.target.holds(e.buffer[:n], length-missing)
		missing -= n
	}
	if missing < 0 {
		return fmt.Errorf("%s: %d bytes more than the content length", e.target.Path, -missing)
	}
	if !right {
		return fmt.Errorf("%s: a body of the right length that is another one", e.target.Path)
	}
	return nil
}

// head sends the request and reads as far as the end of the header. The header
// keeps the line end before its empty line; rest is what came after that.
func (e *exchange) head() (header, rest []byte, err error) {
	if _, err := e.conn.Write(e.request); err != nil {
		return nil, nil, fmt.Errorf("send: %w", err)
	}
	have := 0
	for have < len(e.buffer) {
		n, err := e.conn.Read(e.buffer[have:])
		if err != nil {
			return nil, nil, fmt.Errorf("read header: %w", err)
		}
		have += n
		if end := bytes.Index(e.buffer[:have], endOfHeader); end >= 0 {
			return e.buffer[:end+len(endOfLine)], e.buffer[end+len(endOfHeader) : have], nil
		}
	}
	return nil, nil, fmt.Errorf("%s: the header is longer than %d bytes", e.target.Path, len(e.buffer))
}

// whole sends the request and returns the answer, whatever its status.
func (e *exchange) whole() (Answer, error) {
	header, body, err := e.all()
	if err != nil {
		return Answer{}, err
	}
	a := Answer{ContentType: string(field(header, contentType)), Body: body}
	if len(header) > 12 {
		a.Status, _ = strconv.Atoi(string(header[9:12]))
	}
	return a, nil
}

// all sends the request and returns the answer's header and body. Bytes that
// nobody asked for are an error.
func (e *exchange) all() (header, body []byte, err error) {
	if err := e.conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return nil, nil, fmt.Errorf("set deadline: %w", err)
	}
	header, rest, err := e.head()
	if err != nil {
		return nil, nil, err
	}
	length, err := bodyLength(header)
	if err != nil {
		return nil, nil, err
	}
	header, body = bytes.Clone(header), bytes.Clone(rest)
	for len(body) < length {
		n, err := e.conn.Read(e.buffer)
		if err != nil {
			return nil, nil, fmt.Errorf("read body: %w", err)
		}
		body = append(body, e.buffer[:n]...)
	}
	if len(body) > length {
		return nil, nil, fmt.Errorf("%s: %d bytes more than the content length", e.target.Path, len(body)-length)
	}
	return header, body, nil
}

func bodyLength(header []byte) (int, error) {
	length := 0
	digits := field(header, contentLength)
	for _, d := range digits {
		if d < '0' || d > '9' {
			return 0, fmt.Errorf("content length %q is not a number", digits)
		}
		length = length*10 + int(d-'0')
	}
	if len(digits) == 0 {
		return 0, fmt.Errorf("no content length in %q", header)
	}
	return length, nil
}

// field returns the value behind a name, or nil.
func field(header, name []byte) []byte {
	at := bytes.Index(header, name)
	if at < 0 {
		return nil
	}
	value := header[at+len(name):]
	return value[:max(0, bytes.Index(value, endOfLine))]
}
