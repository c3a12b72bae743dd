package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// row is a path that is compared with the bare handler.
type row struct {
	name      string
	path      string  // {id} is the id of the load generator's container
	mustReach float64 // ratio to the bare handler; 0 for no target
	// slack is by how much the length of an answer may differ from the first.
	slack func(length int) int
	// check says whether an answer is the right one.
	check func(w *world, body []byte) error

	method string // "" for GET
	header string // as in Target
	same   bool   // every answer has the body of the first
}

// target is where the row's requests go.
func (r row) target(address string) Target {
	return Target{Address: address, Method: r.method, Path: r.path, Header: r.header}
}

func exactly(int) int { return 0 }

// about allows for the numbers in stats, which have more or fewer digits.
func about(length int) int { return length / 5 }

// The rows of each number of containers.
var (
	rowV3    = row{name: "/v3", path: "/v3", mustReach: 0.85, slack: exactly, check: isGenerator}
	rowV4    = row{name: "/v4", path: "/v4", mustReach: 0.85, slack: exactly, check: isGenerator}
	rowTask  = row{name: "/v4/task", path: "/v4/task", mustReach: 0.85, slack: exactly, check: isWholeTask}
	rowOwn   = row{name: "/v4/{id}/task", path: "/v4/{id}/task", mustReach: 0.85, slack: exactly, check: isWholeTask}
	rowStats = row{name: "/v4/task/stats", path: "/v4/task/stats", mustReach: 0.5, slack: about, check: isAllStats}
	rowCreds = row{name: "/creds", path: "/creds", mustReach: 0.85, slack: exactly, check: isCredentials}
	rowRole  = row{name: "/role/x", path: "/role/x", mustReach: 0.85, slack: exactly, check: isCredentials}
)

// rowsFor returns what is measured with so many containers: metadata always,
// stats with few, credentials once.
func rowsFor(containers int, first bool) []row {
	rows := []row{rowV3, rowV4, rowTask, rowOwn}
	if containers <= 20 {
		rows = append(rows, rowStats)
	}
	if first {
		rows = append(rows, rowCreds, rowRole)
	}
	return rows
}

func isGenerator(w *world, body []byte) error {
	var got struct{ DockerId string } //nolint:revive // the name on the wire
	if err := json.Unmarshal(body, &got); err != nil {
		return err
	}
	if got.DockerId != w.members[0] {
		return errors.New("the answer is about another container")
	}
	return nil
}

func isWholeTask(w *world, body []byte) error {
	var got struct{ Containers []struct{ DockerId string } } //nolint:revive // the name on the wire
	if err := json.Unmarshal(body, &got); err != nil {
		return err
	}
	for _, c := range got.Containers {
		if !slices.Contains(w.members, c.DockerId) {
			return errors.New("a container of another project is in the task")
		}
	}
	if len(got.Containers) != len(w.members) {
		return fmt.Errorf("the task has %d containers instead of %d", len(got.Containers), len(w.members))
	}
	return nil
}

func isAllStats(w *world, body []byte) error {
	var got map[string]struct {
		CPU struct {
			System uint64 `json:"system_cpu_usage"`
		} `json:"cpu_stats"`
	}
	if err := json.Unmarshal(body, &got); err != nil {
		return err
	}
	for _, id := range w.members {
		if got[id].CPU.System == 0 {
			return fmt.Errorf("container %.12s has no sample", id)
		}
	}
	if len(got) != len(w.members) {
		return fmt.Errorf("stats of %d containers instead of %d", len(got), len(w.members))
	}
	return nil
}

func isCredentials(_ *world, body []byte) error {
	var got struct{ AccessKeyID, SecretAccessKey, Token, Expiration string }
	if err := json.Unmarshal(body, &got); err != nil {
		return errors.New("the credentials are no JSON")
	}
	if got.AccessKeyID == "" || got.SecretAccessKey == "" || got.Token == "" || got.Expiration == "" {
		return errors.New("the credentials are not complete")
	}
	return nil
}

// side is one of the two that are compared.
type side struct {
	process *process
	target  Target
	rates   []float64 // of each slice
	total   Rate
	busy    time.Duration // on a processor
}

// slice measures one slice.
func (s *side) slice(ctx context.Context, w *world, length time.Duration) error {
	before, err := s.process.processorTime()
	if err != nil {
		return err
	}
	var rate Rate
	if err := w.call(ctx, "Run", Slice{[]Target{s.target}, connections, length}, &rate); err != nil {
		return s.process.failure(err)
	}
	after, err := s.process.processorTime()
	if err != nil {
		return err
	}
	s.rates = append(s.rates, rate.PerSecond())
	s.total.Requests += rate.Requests
	s.total.Time += rate.Time
	s.busy += after - before
	return nil
}

// perRequest is the processor time of one request in microseconds.
func (s *side) perRequest() float64 {
	return float64(s.busy.Microseconds()) / float64(max(1, s.total.Requests))
}

// compare measures a row: short slices of ecs-local and of the bare handler in
// turn, so that whatever else the machine does meets both.
func (w *world) compare(ctx context.Context, o options, p *process, r row) (comparison, error) {
	progress("%s with %d containers", r.name, len(w.members))
	r.path = strings.ReplaceAll(r.path, "{id}", w.members[0])
	own := &side{process: p, target: r.target(p.address)}
	answer, err := w.ask(ctx, own, r)
	if err != nil {
		return comparison{}, p.failure(fmt.Errorf("%s: %w", r.name, err))
	}
	var header []string
	if err := w.call(ctx, "Header", own.target, &header); err != nil {
		return comparison{}, p.failure(fmt.Errorf("%s: %w", r.name, err))
	}
	own.target.Length = len(answer.Body)
	own.target.Slack = r.slack(len(answer.Body))

	b, err := w.startBare(answer.ContentType, len(answer.Body), header...)
	if err != nil {
		return comparison{}, err
	}
	defer b.stop()
	bare := &side{process: b, target: r.target(b.address)}
	bare.target.Length = len(answer.Body)
	if r.same {
		own.target.Body = string(answer.Body)
		bare.target.Body = strings.Repeat("x", len(answer.Body))
	}
	if err := b.firstAnswer(ctx, r.path); err != nil {
		return comparison{}, err
	}
	for _, s := range []*side{own, bare} {
		if err := s.slice(ctx, w, warmUp); err != nil {
			return comparison{}, err
		}
		*s = side{process: s.process, target: s.target}
	}
	for i := range o.pairs {
		order := []*side{own, bare}
		if i%2 == 1 {
			slices.Reverse(order)
		}
		for _, s := range order {
			if err := s.slice(ctx, w, o.slice); err != nil {
				return comparison{}, err
			}
		}
	}
	// What was right at the beginning must be right under load too.
	if _, err := w.ask(ctx, own, r); err != nil {
		return comparison{}, p.failure(fmt.Errorf("%s, after the load: %w", r.name, err))
	}
	var none bool
	if err := w.call(ctx, "Forget", false, &none); err != nil {
		return comparison{}, err
	}
	p.forgetLog()
	return newComparison(r, len(w.members), len(answer.Body), own, bare), nil
}

// ask returns one answer after it was checked. The first asks for what the
// following ones find warm.
func (w *world) ask(ctx context.Context, s *side, r row) (Answer, error) {
	var answer Answer
	if err := w.call(ctx, "Ask", s.target, &answer); err != nil {
		return answer, err
	}
	if answer.Status != 200 {
		return answer, fmt.Errorf("status %d: %s", answer.Status, answer.Body)
	}
	return answer, r.check(w, answer.Body)
}

// measureStarts measures the time from the start of a process to its first
// answer.
func (w *world) measureStarts(ctx context.Context, o options, path string, start func() (*process, error)) ([]float64, error) {
	times := make([]float64, o.starts)
	for i := range times {
		begun := time.Now()
		p, err := start()
		if err != nil {
			return nil, err
		}
		err = p.firstAnswer(ctx, path)
		times[i] = float64(time.Since(begun).Microseconds()) / 1000
		p.stop()
		if err != nil {
			return nil, err
		}
	}
	return times, nil
}

// measureStart asks for the metadata of a container, and beside the first
// number of containers does the same to the bare handler: what of the time is
// the machine's.
func (w *world) measureStart(ctx context.Context, o options, bare bool) ([]figure, error) {
	progress("start, with %d in the project", len(w.members))
	times, err := w.measureStarts(ctx, o, w.anyMember(), func() (*process, error) { return w.startProgram() })
	if err != nil {
		return nil, err
	}
	figures := []figure{newFigure("start to first answer", len(w.members), "ms", 30, times)}
	if bare {
		if times, err = w.measureStarts(ctx, o, "/", func() (*process, error) { return w.startBare("application/json", 1) }); err != nil {
			return nil, err
		}
		figures = append(figures, newFigure("the same of the bare handler", len(w.members), "ms", 0, times))
	}
	return figures, nil
}

// anyMember is a path that the host, which is no container, can ask for.
func (w *world) anyMember() string { return "/v4/containers/" + w.members[0] }

// measureBurst sends concurrent first requests for one role and counts the
// calls of STS: one by ARN; by name there is one more, to learn the account.
func (w *world) measureBurst(ctx context.Context, p *process) ([]figure, error) {
	var figures []figure
	for _, path := range []string{"/role-arn/arn:aws:iam::" + stsAccount + ":role/burst", "/role/other"} {
		progress("%d first requests at once for %s", burst, path)
		before, assumed := w.sts.count(""), w.sts.count("AssumeRole")
		var result BurstResult
		if err := w.call(ctx, "Burst", Burst{Target{Address: p.address, Path: path}, burst}, &result); err != nil {
			return nil, p.failure(err)
		}
		if result.Different != 1 {
			return nil, fmt.Errorf("%d requests for %s got %d different answers", burst, path, result.Different)
		}
		calls := newFigure("", len(w.members), "", 1, []float64{float64(w.sts.count("AssumeRole") - assumed)})
		calls.What = fmt.Sprintf("%d concurrent first requests for `%s…`: AssumeRole calls", burst, path[:strings.LastIndexByte(path, '/')+1])
		calls.Missed = calls.Value != 1
		calls.Note = fmt.Sprintf("%d STS calls in all, of %s each; the last answer came after %.2f s",
			w.sts.count("")-before, stsDelay, result.Time.Seconds())
		figures = append(figures, calls)
	}
	p.forgetLog()
	return figures, nil
}

const mib = 1 << 20

// measureRest returns the resident memory when nobody asks for anything.
func (w *world) measureRest(ctx context.Context, o options, p *process) (figure, error) {
	progress("memory at rest with %d containers", len(w.members))
	select {
	case <-time.After(o.settle):
	case <-ctx.Done():
		return figure{}, ctx.Err()
	}
	bytes, err := p.resident()
	return newFigure("resident memory, idle", len(w.members), "MiB", 25, []float64{float64(bytes) / mib}), err
}

// measureSoak keeps all kinds of requests coming and watches the memory. It
// has grown when it is more at the end than after a tenth of the time, when
// everything has been asked for many times.
func (w *world) measureSoak(ctx context.Context, o options, p *process) ([]figure, error) {
	progress("load for %s with %d containers", o.soak, len(w.members))
	var targets []Target
	for _, r := range []row{rowV3, rowV4, rowTask, rowStats, rowCreds, rowRole} {
		s := &side{process: p, target: Target{Address: p.address, Path: r.path}}
		answer, err := w.ask(ctx, s, r)
		if err != nil {
			return nil, p.failure(fmt.Errorf("%s: %w", r.name, err))
		}
		s.target.Length = len(answer.Body)
		s.target.Slack = r.slack(s.target.Length)
		targets = append(targets, s.target)
	}
	const steps = 50
	var memory []float64
	var total Rate
	for range steps {
		var rate Rate
		if err := w.call(ctx, "Run", Slice{targets, connections, o.soak / steps}, &rate); err != nil {
			return nil, p.failure(err)
		}
		total.Requests += rate.Requests
		total.Time += rate.Time
		bytes, err := p.resident()
		if err != nil {
			return nil, err
		}
		memory = append(memory, float64(bytes)/mib)
		p.forgetLog()
	}
	var none bool
	if err := w.call(ctx, "Forget", false, &none); err != nil {
		return nil, err
	}
	// One reading depends on how long ago the collector ran; five depend less.
	early, late := median(memory[steps/10:steps/5]), median(memory[steps-steps/10:])
	during := newFigure(fmt.Sprintf("resident memory, after %s of load", o.soak/10*2), len(w.members), "MiB", 0, memory[steps/10:steps/5])
	after := newFigure(fmt.Sprintf("resident memory, after %s of load", o.soak), len(w.members), "MiB", 0, memory[steps-steps/10:])
	grown := newFigure("growth in between", len(w.members), "%", 10, []float64{max(0, late/early-1) * 100})
	grown.Note = fmt.Sprintf("%d requests, %.0f a second, all kinds", total.Requests, total.PerSecond())
	rest, err := w.measureRest(ctx, o, p)
	rest.What, rest.AtMost, rest.Missed = "resident memory, idle again", 0, false
	return []figure{during, after, grown, rest}, err
}

// measureAll makes the world, measures, and removes it. What was measured
// before something broke is reported too.
func measureAll(ctx context.Context, o options) (err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, o.limit+o.soak,
		errors.New("the run took longer than its limit: the machine is too busy, or use -quick"))
	defer cancel()
	report := newReport(o)
	w, err := newWorld(ctx, o)
	defer func() {
		progress("removing what was made")
		err = errors.Join(err, w.close())
	}()
	if err == nil {
		if err = report.describe(ctx, w); err == nil {
			err = w.measure(ctx, o, report)
		}
	}
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return errors.Join(err, report.write(os.Stdout))
}

// measure fills the report.
func (w *world) measure(ctx context.Context, o options, report *report) error {
	for i, n := range o.containers {
		if err := w.grow(ctx, n); err != nil {
			return err
		}
		first, last := i == 0, i == len(o.containers)-1
		if err := w.measureWith(ctx, o, report, first, last); err != nil {
			return err
		}
	}
	return nil
}

// measureWith measures everything that depends on the number of containers,
// and beside the first and the last number what is measured once.
func (w *world) measureWith(ctx context.Context, o options, report *report, first, last bool) error {
	wanted := func(name string) bool { return o.rows.MatchString(name) }
	if (first || last) && wanted("start") {
		figures, err := w.measureStart(ctx, o, first)
		if err != nil {
			return err
		}
		report.add(figures...)
	}

	p, err := w.startProgram()
	if err != nil {
		return err
	}
	defer p.stop()
	if err := p.firstAnswer(ctx, w.anyMember()); err != nil {
		return err
	}
	if last && wanted("memory") {
		rest, err := w.measureRest(ctx, o, p)
		if err != nil {
			return err
		}
		report.add(rest)
	}
	if first && wanted("burst") {
		figures, err := w.measureBurst(ctx, p)
		if err != nil {
			return err
		}
		report.add(figures...)
	}
	for _, r := range rowsFor(len(w.members), first) {
		if !wanted(r.name) {
			continue
		}
		c, err := w.compare(ctx, o, p, r)
		if err != nil {
			return err
		}
		report.compared(c)
	}
	if first && wanted("warn") {
		if err := w.compareQuiet(ctx, o, report); err != nil {
			return err
		}
	}
	if first {
		if err := w.measureInstance(ctx, o, report, p); err != nil {
			return err
		}
	}
	if last && o.soak > 0 && wanted("soak") {
		figures, err := w.measureSoak(ctx, o, p)
		if err != nil {
			return err
		}
		report.add(figures...)
	}
	return nil
}

// compareQuiet measures a row without the log line per request.
func (w *world) compareQuiet(ctx context.Context, o options, report *report) error {
	p, err := w.startProgram("--log-level", "warn")
	if err != nil {
		return err
	}
	defer p.stop()
	if err := p.firstAnswer(ctx, w.anyMember()); err != nil {
		return err
	}
	r := rowV4
	r.name += ", `--log-level warn`"
	r.mustReach = 0
	c, err := w.compare(ctx, o, p, r)
	if err != nil {
		return err
	}
	report.compared(c)
	return nil
}

// progress says on stderr what is being done.
func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...)
}
