package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The instance metadata service closes each connection whose request does not
// ask it to keep it.
const (
	leafPath  = "/latest/meta-data/instance-id"
	tokenPath = "/latest/api/token"

	keptAlive   = "Connection: keep-alive\r\n"
	headerToken = "X-aws-ec2-metadata-token: "
	headerTTL   = "X-Aws-Ec2-Metadata-Token-Ttl-Seconds: "

	tokenLength    = 56
	mixConnections = 64
)

var (
	instanceID = regexp.MustCompile(`^i-[0-9a-f]{17}$`)
	tokenText  = regexp.MustCompile(`^[\w-]+=*$`)
	tokenTTL   = []byte("\r\n" + headerTTL)
)

func isInstanceID(_ *world, body []byte) error {
	if !instanceID.Match(body) {
		return fmt.Errorf("%q is no id of an instance", body)
	}
	return nil
}

func isToken(_ *world, body []byte) error {
	if len(body) != tokenLength || !tokenText.Match(body) {
		return fmt.Errorf("the answer is no token, %d bytes", len(body))
	}
	return nil
}

// The rows of the instance metadata service.
var (
	rowToken = row{name: "IMDS PUT token", path: tokenPath, mustReach: 0.8, slack: exactly, check: isToken,
		method: "PUT", header: keptAlive + headerTTL + "21600\r\n"}
	rowLeaf1 = row{name: "IMDS v1 leaf", path: leafPath, mustReach: 0.9, slack: exactly, check: isInstanceID,
		header: keptAlive, same: true}
	rowLeaf2 = row{name: "IMDS v2 leaf with token", path: leafPath, mustReach: 0.85, slack: exactly, check: isInstanceID,
		same: true} // its header is made with a token
)

// measureInstance measures the instance metadata service, which does not
// depend on the number of containers.
func (w *world) measureInstance(ctx context.Context, o options, report *report, p *process) error {
	for _, r := range []row{rowLeaf1, rowLeaf2, rowToken} {
		if !o.rows.MatchString(r.name) {
			continue
		}
		if r.name == rowLeaf2.name {
			token, err := w.ask(ctx, &side{process: p, target: rowToken.target(p.address)}, rowToken)
			if err != nil {
				return p.failure(fmt.Errorf("%s: %w", r.name, err))
			}
			r.header = keptAlive + headerToken + string(token.Body) + "\r\n"
		}
		c, err := w.compare(ctx, o, p, r)
		if err != nil {
			return err
		}
		report.compared(c)
	}
	if o.rows.MatchString("IMDS tokens") {
		f, err := w.measureTokens(ctx, o)
		if err != nil {
			return err
		}
		report.add(f)
	}
	if o.rows.MatchString("IMDS mix") {
		f, err := w.measureMix(ctx, o)
		if f.What != "" { // wrong answers are reported, too
			report.add(f)
		}
		return err
	}
	return nil
}

// measureTokens asks a new ecs-local for many tokens and compares its memory
// before and after, idle both times. Before is after a tenth as many.
func (w *world) measureTokens(ctx context.Context, o options) (figure, error) {
	progress("%d tokens", o.tokens)
	p, err := w.startProgram()
	if err != nil {
		return figure{}, err
	}
	defer p.stop()
	if err := p.firstAnswer(ctx, leafPath); err != nil {
		return figure{}, err
	}
	target := rowToken.target(p.address)
	target.Length = tokenLength
	var total Rate
	load := func(length time.Duration) error {
		var rate Rate
		if err := w.call(ctx, "Run", Slice{[]Target{target}, connections, length}, &rate); err != nil {
			return p.failure(err)
		}
		total.Requests += rate.Requests
		total.Time += rate.Time
		p.forgetLog()
		return nil
	}
	ask := func(tokens int) error {
		total = Rate{}
		for total.Requests < int64(tokens) {
			if err := load(time.Second); err != nil {
				return err
			}
		}
		return nil
	}
	// What serving takes, whatever is asked for, it has after the first tenth.
	if err := ask(o.tokens / 10); err != nil {
		return figure{}, err
	}
	before, err := w.measureRest(ctx, o, p)
	if err != nil {
		return figure{}, err
	}
	if err := ask(o.tokens); err != nil {
		return figure{}, err
	}
	after, err := w.measureRest(ctx, o, p)
	if err != nil {
		return figure{}, err
	}
	var none bool
	if err := w.call(ctx, "Forget", false, &none); err != nil {
		return figure{}, err
	}
	// A tenth of next to nothing is less than what the collector leaves to chance.
	f := newFigure(fmt.Sprintf("IMDS: growth of resident memory by %d tokens", o.tokens), len(w.members), "MiB",
		max(3, before.Value/10), []float64{after.Value - before.Value})
	f.Note = fmt.Sprintf("from %.1f to %.1f MiB; %d tokens, %.0f a second", before.Value, after.Value, total.Requests, total.PerSecond())
	return f, nil
}

// measureMix has many connections ask for tokens and values at once. The
// figure is how many answers were wrong; one is an error.
func (w *world) measureMix(ctx context.Context, o options) (figure, error) {
	progress("%d connections mix requests for tokens and for values, for %s", mixConnections, o.mix)
	values := map[string]string{}
	config := "imds:\n  tokens: required\n  metadata:\n"
	for i := range 100 {
		name := "bench/value-" + strconv.Itoa(i)
		value := strings.Repeat("-", i*i%83) + name // lengths differ and repeat
		values["/latest/meta-data/"+name] = value
		config += fmt.Sprintf("    %s: %q\n", name, value)
	}
	file := filepath.Join(w.dir, "imds.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return figure{}, fmt.Errorf("write configuration: %w", err)
	}
	p, err := w.startProgram("--config", file)
	if err != nil {
		return figure{}, err
	}
	defer p.stop()
	if err := p.firstAnswer(ctx, w.anyMember()); err != nil {
		return figure{}, err
	}
	var got Mixed
	if err := w.call(ctx, "Mix", Mix{p.address, values, mixConnections, o.mix}, &got); err != nil {
		return figure{}, p.failure(err)
	}
	f := newFigure(fmt.Sprintf("IMDS: wrong answers, %d connections mixing PUT and GET for %s", mixConnections, o.mix),
		len(w.members), "", 0, []float64{float64(got.Wrong)})
	f.Note = fmt.Sprintf("%d requests, %d of them PUT, %.0f a second", got.Requests, got.Tokens, got.PerSecond())
	if got.Wrong > 0 {
		return f, p.failure(fmt.Errorf("%s: %d of %d, such as: %s", f.What, got.Wrong, got.Requests, got.Example))
	}
	if got.Tokens == 0 || got.Tokens == got.Requests {
		return f, fmt.Errorf("%s: nothing was mixed: %s", f.What, f.Note)
	}
	return f, nil
}

// Mix is an order: ask the instance metadata service for values and for tokens
// in turn, by chance, and use the tokens.
type Mix struct {
	Address     string
	Values      map[string]string // by path
	Connections int
	Time        time.Duration
}

// Mixed is how the answers were.
type Mixed struct {
	Rate
	Tokens  int64  // of the requests: for tokens
	Wrong   int64  // answers, and connections that broke
	Example string // of what was wrong
}

// Mix carries out such an order. Each answer must be that to its own request.
func (*Load) Mix(m Mix, result *Mixed) error {
	list := make([]*mixer, m.Connections)
	for i := range list {
		e, err := dial(Target{Address: m.Address})
		if err != nil {
			return err
		}
		defer func() { _ = e.conn.Close() }()
		list[i] = &mixer{exchange: e, order: m}
		for path := range m.Values {
			list[i].paths = append(list[i].paths, path)
		}
	}
	begun := time.Now()
	var group sync.WaitGroup
	for _, c := range list {
		group.Go(func() { c.run(begun.Add(m.Time)) })
	}
	group.Wait()
	result.Time = time.Since(begun)
	for _, c := range list {
		result.Requests += c.got.Requests
		result.Tokens += c.got.Tokens
		result.Wrong += c.got.Wrong
		if c.got.Example != "" {
			result.Example = c.got.Example
		}
	}
	return nil
}

// mixer is one connection of a mix.
type mixer struct {
	*exchange
	order Mix
	paths []string
	token string // the newest
	got   Mixed
}

// run asks until the time is over or the connection is broken.
func (c *mixer) run(end time.Time) {
	for time.Now().Before(end) {
		var err error
		broken := false
		if c.token == "" || rand.N(4) == 0 {
			broken, err = c.newToken()
			c.got.Tokens++
		} else {
			broken, err = c.value()
		}
		c.got.Requests++
		if err != nil {
			c.got.Wrong++
			c.got.Example = err.Error()
		}
		if broken {
			return
		}
	}
}

// newToken asks for a token of a life that hardly anybody else asks for.
func (c *mixer) newToken() (broken bool, err error) {
	life := strconv.Itoa(60 + rand.N(21541))
	header, body, err := c.ask(Target{Method: "PUT", Path: tokenPath, Header: keptAlive + headerTTL + life + "\r\n"})
	switch {
	case err != nil:
		return true, err
	case !bytes.HasPrefix(header, statusOK):
		return false, fmt.Errorf("PUT: %s", bytes.SplitN(header, endOfLine, 2)[0])
	case string(field(header, tokenTTL)) != life:
		return false, fmt.Errorf("PUT: a token for %q seconds instead of %s", field(header, tokenTTL), life)
	}
	if err := isToken(nil, body); err != nil {
		return false, fmt.Errorf("PUT: %w", err)
	}
	c.token = string(body)
	return false, nil
}

// value asks for one of the values.
func (c *mixer) value() (broken bool, err error) {
	path := c.paths[rand.N(len(c.paths))]
	header, body, err := c.ask(Target{Path: path, Header: keptAlive + headerToken + c.token + "\r\n"})
	switch {
	case err != nil:
		return true, err
	case !bytes.HasPrefix(header, statusOK):
		return false, fmt.Errorf("GET %s: %s", path, bytes.SplitN(header, endOfLine, 2)[0])
	case string(body) != c.order.Values[path]:
		return false, fmt.Errorf("GET %s: a value of %d bytes that is not the one of this path", path, len(body))
	}
	return false, nil
}

// ask sends a request.
func (c *mixer) ask(t Target) (header, body []byte, err error) {
	t.Address = c.order.Address
	c.target, c.request = t, t.request()
	return c.all()
}

// Header sends one request and returns the lines of the answer's header but
// those that every answer of net/http has.
func (*Load) Header(t Target, lines *[]string) error {
	e, err := dial(t)
	if err != nil {
		return err
	}
	defer func() { _ = e.conn.Close() }()
	header, _, err := e.all()
	if err != nil {
		return err
	}
	all := strings.Split(strings.TrimSuffix(string(header), "\r\n"), "\r\n")
	*lines = slices.DeleteFunc(all[1:], func(line string) bool {
		name, _, _ := strings.Cut(line, ": ")
		return slices.Contains([]string{"Date", "Content-Type", "Content-Length"}, name)
	})
	return nil
}
